"""Whether a worker grows: its memory over a hundred thousand looks.

A real worker of two processes, beat, Redis and the sandbox. A hundred accounts whose conferences never come
are due again as soon as they were looked at. What is compared is the anonymous part of PSS over all of
the worker's processes (see `benchmarks.memory`): pages of files are shared with whatever else runs on the
machine, so their part changes without the worker's doing.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from dataclasses import dataclass

from rich.progress import Progress

from benchmarks.fleet import ask_all_processes, beat, caller
from benchmarks.memory import family, looks_made, memory_of
from benchmarks.report import Report
from benchmarks.stage import environment, fill, process, redis_server, sandbox_process, services, settings_for
from worker.ledger.ledger import Ledger

LOOKS, QUICK_LOOKS = 100_000, 1_000
#: Before the first measurement: until then caches fill, and shared pages become the children's own.
WARM_UP, QUICK_WARM_UP = 2_000, 200
ROWS = 10
ACCOUNTS, PROCESSES = 100, 2
#: Ten times what it takes here; a slower one is given up.
SECONDS_A_LOOK = 0.05

HEADINGS = ("looks", "MiB", "growth %", "looks a second")


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker after so many looks."""

    looks: int
    mib: float
    at: float


def run(quick: bool) -> Report:
    """Let a worker look, and measure it from time to time."""
    looks, warm_up = (QUICK_LOOKS, QUICK_WARM_UP) if quick else (LOOKS, WARM_UP)
    with sandbox_process() as control, redis_server() as redis_url:
        settings = settings_for(redis_url, control.base_url, sweep_every=0.2, recheck_max=0.01)
        command = [sys.executable, "-m", "worker.cli", "worker", "--concurrency", str(PROCESSES)]
        with closing(services(settings)) as work:
            fill(work, control, ACCOUNTS, 1, stuck=True)
            with process(command, environment(settings)) as running, caller(settings, redis_url) as asking:
                ask_all_processes(asking, PROCESSES)
                with beat(settings):
                    samples = _watch(work.ledger, running.pid, warm_up, looks)
    first = samples[0]
    return Report(
        name="soak",
        title=f"Memory of a worker of {PROCESSES} processes over {looks:,} looks",
        headings=HEADINGS,
        rows=[
            {
                "looks": sample.looks - first.looks,
                "MiB": sample.mib,
                "growth %": f"{100 * (sample.mib / first.mib - 1):.1f}",
                "looks a second": round((sample.looks - first.looks) / (sample.at - first.at or 1)),
            }
            for sample in samples
        ],
        notes=(
            f"After {warm_up:,} looks to warm up. MiB: anonymous memory of all of the worker's processes.",
        ),
        settings={"accounts": ACCOUNTS, "processes": PROCESSES, "warm-up": warm_up},
    )


def _watch(ledger: Ledger, pid: int, warm_up: int, looks: int) -> list[Sample]:
    processes, samples = family(pid), list[Sample]()
    end = time.monotonic() + (warm_up + looks) * SECONDS_A_LOOK
    with Progress(transient=True) as bar:
        task = bar.add_task("Looking", total=warm_up + looks)
        while len(samples) <= ROWS:
            made = looks_made(ledger)
            bar.update(task, completed=made)
            if made >= warm_up + len(samples) * looks // ROWS:
                mib = sum(memory_of(each).anonymous for each in processes)
                samples.append(Sample(made, mib, time.monotonic()))
            elif time.monotonic() > end:
                raise SystemExit(f"Only {made:,} looks in time: the figures would be meaningless.")
            time.sleep(0.2)
    if family(pid) != processes:
        raise SystemExit("A process of the worker was replaced: the figures would be meaningless.")
    return samples
