"""Where the CPU time of a look goes, by part: a whole worker, sampled by py-spy while it settles accounts.

The worker runs as in a fleet (real broker, beat, sweeps, looks), but with Celery's solo pool, so that it is a
single process. Redis and the sandbox are separate processes and not counted; nor is the worker's start. A
sample is the thread that holds the interpreter's lock, attributed to its innermost frame that belongs to a
part; the process's own CPU time, including system calls, is then divided in proportion to the samples.
``results/cpu-*.folded`` can be drawn as a flame graph.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import RESULTS, Report, Value
from benchmarks.stage import (
    environment,
    fill,
    process,
    redis_server,
    sandbox_process,
    services,
    settings_for,
    until,
)
from sandbox.control.control import Control

PATIENCE_SECONDS = 120
SAMPLES_A_SECOND = 250

#: Which part a piece of code belongs to, by substring of its path; the first match wins.
PARTS = (
    ("HTTP", ("/httpx/", "/httpcore/", "/h11/", "/cronofy/http.py")),
    ("Redis", ("/redis/", "/hiredis/", "/ledger/ledger.py", "/ledger/keys.py", "/cronofy/budget.py")),
    (
        "records and outcomes",
        ("/ledger/records.py", "/ledger/packing.py", "/ledger/outcomes.py", "/msgpack/"),
    ),
    ("wire models", ("/pydantic", "/cronofy/wire.py", "/cronofy/client.py")),
    ("vault", ("/cryptography/", "/ledger/vault.py")),
    ("diagnosis", ("/worker/diagnosis/", "/worker/reconcile/")),
    ("logging", ("/structlog/", "/logging/", "/config/logging.py")),
    ("threads and batches", ("/concurrent/", "/worker/run/looks.py")),
    ("Celery", ("/celery/", "/kombu/", "/billiard/", "/vine/", "/tasks/", "/worker/broker/consumer.py")),
)
REST = "the rest"


def run(quick: bool) -> Report:
    """Settle accounts of 1, 10 and 100 events."""
    sizes = {1: 300, 10: 100} if quick else {1: 3000, 10: 1000, 100: 100}
    found: dict[int, Mapping[str, float]] = {}
    for events, accounts in sizes.items():
        with sandbox_process() as control:
            found[events] = _milliseconds(control, accounts, events)
    parts = sorted({part for parts in found.values() for part in parts}, key=lambda p: -_total(found, p))
    rows: list[dict[str, Value]] = [
        {"part": part, **{_heading(n): parts.get(part, 0.0) for n, parts in found.items()}} for part in parts
    ]
    rows.append({"part": "all", **{_heading(n): sum(parts.values()) for n, parts in found.items()}})
    return Report(
        name="cpu",
        title="CPU time of a look that settles its account, by part",
        headings=["part", *(_heading(n) for n in sizes)],
        rows=rows,
        settings={
            "accounts": ", ".join(f"{accounts} of {events}" for events, accounts in sizes.items()),
            "samples_a_second": SAMPLES_A_SECOND,
        },
    )


def _milliseconds(control: Control, accounts: int, events: int) -> dict[str, float]:
    """CPU milliseconds per look, by part."""
    with redis_server() as redis_url, tempfile.TemporaryDirectory() as home:
        settings = settings_for(redis_url, control.base_url, sweep_every=0.2)
        work = services(settings)
        try:
            fill(work, control, accounts, events)
            surroundings = environment(settings)
            pid_file, folded = Path(home) / "pid", RESULTS / f"cpu-{events}.folded"
            RESULTS.mkdir(exist_ok=True)
            spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--gil", "--format", "raw"]
            spy += ["--full-filenames", "--rate", str(SAMPLES_A_SECOND), "--output", str(folded), "--"]
            worker = [sys.executable, "-m", "worker.cli", "worker", "--pool", "solo"]
            worker += ["--pidfile", str(pid_file)]
            with process([*spy, *worker], surroundings) as spying:
                until(lambda: pid_file.exists() and pid_file.read_text().strip(), "the worker to start")
                pid = int(pid_file.read_text())
                before = _cpu_seconds(pid)
                with process([sys.executable, "-m", "worker.cli", "beat"], surroundings):
                    until(
                        lambda: work.ledger.counters().get("outcome:assigned", 0) >= accounts * events,
                        "every event to be settled",
                    )
                took = _cpu_seconds(pid) - before
                os.kill(pid, signal.SIGTERM)
                # py-spy writes its result once the worker has ended.
                spying.wait(timeout=PATIENCE_SECONDS)
        finally:
            work.close()
    samples = _samples(folded)
    return {part: 1000 * took / accounts * count / samples.total() for part, count in samples.items()}


def _samples(folded: Path) -> Counter[str]:
    """Samples per part. A line is a stack's frames, outermost first, and a count."""
    samples: Counter[str] = Counter()
    for line in folded.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        # Before the first task the worker was only starting.
        if "/celery/worker/loops.py" in stack or "/concurrent/" in stack:
            samples[_part(stack.split(";"))] += int(count)
    return samples


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part, marks in PARTS:
            if any(mark in frame for mark in marks):
                return part
    return REST


def _cpu_seconds(pid: int) -> float:
    """The CPU time a process has used, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _heading(events: int) -> str:
    return f"{events} event{'s' if events > 1 else ''}, ms"


def _total(found: Mapping[int, Mapping[str, float]], part: str) -> float:
    return sum(parts.get(part, 0.0) for parts in found.values())
