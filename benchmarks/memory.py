"""What each role of a fleet needs of memory: idle, and after it has worked.

Real processes on a real Redis. A process's memory is read from `/proc/PID/smaps_rollup`. PSS counts a page
that several processes share in equal parts, so the sum over a worker's processes is what that worker takes.
USS is what a process has to itself, so one process more takes about that much more.

A worker is idle once each of its processes has answered a question, which makes it its clients, and has
worked once it has made some hundred looks a process at accounts of ten events.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
from rich.progress import track as progress

from benchmarks.fleet import ask_all_processes, beat, caller
from benchmarks.report import Report, Value
from benchmarks.stage import (
    environment,
    fill,
    free_ports,
    process,
    redis_server,
    sandbox_process,
    services,
    settings_for,
    until,
)
from config.queues import Queues
from worker.ledger import tallies
from worker.ledger.ledger import Ledger

#: How many processes a worker has; the last is one for each core of a large host.
PROCESSES, QUICK_PROCESSES = (1, 2, 4, 8, 24), (1, 2)
LOOKS_A_PROCESS, QUICK_LOOKS_A_PROCESS = 300, 20
ACCOUNTS, EVENTS = 200, 10
PAGES = 200
PATIENCE_SECONDS = 600

HEADINGS = ("role", "processes", "idle MiB", "worked MiB", "first process MiB", "each other MiB")


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MiB."""

    pss: float
    uss: float
    #: The part of PSS that is no file's.
    anonymous: float


def memory_of(pid: int) -> Memory:
    """What a process takes now; OSError if there is none."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    mib = {line.split()[0].rstrip(":"): int(line.split()[1]) / 1024 for line in lines}
    return Memory(mib["Pss"], mib["Private_Clean"] + mib["Private_Dirty"], mib["Pss_Anon"])


def family(pid: int) -> list[int]:
    """A process, and after it its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def looks_made(ledger: Ledger) -> int:
    """How many looks the fleet has made so far."""
    buckets, _ = tallies.LOOKS.read(ledger.counters())
    return buckets[-1][1]


def run(quick: bool) -> Report:
    """Measure one role after the other."""
    sizes, looks = (QUICK_PROCESSES, QUICK_LOOKS_A_PROCESS) if quick else (PROCESSES, LOOKS_A_PROCESS)
    with sandbox_process() as control, redis_server() as redis_url:
        settings = settings_for(redis_url, control.base_url, sweep_every=0.2, recheck_max=0.05)
        with closing(services(settings)) as work:
            fill(work, control, ACCOUNTS, EVENTS, stuck=True)
            rows = [_beat(settings, work.ledger)]
            rows += [
                _worker(settings, redis_url, work.ledger, size, looks)
                for size in progress(sizes, "Workers at work", transient=True)
            ]
            rows.append(_serve(settings))
    return Report(
        name="memory",
        title="Memory of each role",
        headings=HEADINGS,
        rows=rows,
        notes=(
            "Idle and worked: PSS of all of the role's processes. First process and each other: USS at the "
            "end; a worker's first process makes no looks, the others are forked from it.",
        ),
        settings={"accounts": ACCOUNTS, "events an account": EVENTS, "looks a process": looks},
    )


def _worker(
    settings: dict[str, Any], redis_url: str, ledger: Ledger, size: int, looks: int
) -> dict[str, Value]:
    command = [sys.executable, "-m", "worker.cli", "worker", "--concurrency", str(size)]
    with process(command, environment(settings)) as running, caller(settings, redis_url) as asking:
        ask_all_processes(asking, size)

        def work() -> None:
            enough = looks_made(ledger) + size * looks
            with beat(settings):
                until(lambda: looks_made(ledger) >= enough, "the looks", PATIENCE_SECONDS)

        return _row("worker", running.pid, work)


def _beat(settings: dict[str, Any], ledger: Ledger) -> dict[str, Value]:
    queue = Queues.of(ledger.prefix).looks
    with process([sys.executable, "-m", "worker.cli", "beat"], environment(settings)) as running:
        until(lambda: ledger.redis.llen(queue), "beat's first tick")
        return _row("beat", running.pid, lambda: until(lambda: ledger.redis.llen(queue) > 20, "more ticks"))


def _serve(settings: dict[str, Any]) -> dict[str, Value]:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "worker.cli", "serve", "--port", str(port)]
    token = "a-token-of-the-board"
    bearer = {"Authorization": f"Bearer {token}"}
    with process(command, environment(settings | {"board_token": token})) as running:
        until(lambda: _answers(f"{url}/readyz"), "serve")

        def work() -> None:
            for _ in range(PAGES):
                httpx.get(f"{url}/", headers=bearer, timeout=10).raise_for_status()
                httpx.get(f"{url}/metrics", headers=bearer, timeout=10).raise_for_status()

        return _row("serve", running.pid, work)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _row(role: str, pid: int, work: Callable[[], None]) -> dict[str, Value]:
    idle = sum(memory_of(each).pss for each in family(pid))
    work()
    first, *others = [memory_of(each) for each in family(pid)]
    return {
        "role": role,
        "processes": len(others) or None,
        "idle MiB": idle,
        "worked MiB": sum(each.pss for each in (first, *others)),
        "first process MiB": first.uss,
        "each other MiB": mean(each.uss for each in others) if others else None,
    }
