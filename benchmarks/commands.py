"""What a command costs on its way to an answer: the CPU time of its process, and how long a person waits.

Each is run as a process of its own, as from a shell. Nearly all of it is imports, so the table is really of
what each command imports. Compiled modules are kept, as after any installation.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from statistics import median

from rich.progress import track as progress

from benchmarks.report import Report, Value
from benchmarks.stage import environment, fill, redis_server, sandbox_process, services, settings_for

RUNS, QUICK_RUNS = 10, 2

#: What every command needs that reads the ledger, imported as `worker/cli.py` imports it.
LIBRARIES = "import gc; gc.disable(); import click, redis; from pydantic import BaseModel; gc.freeze()"

HEADINGS = ("command", "CPU ms", "seconds to its end")


def run(quick: bool) -> Report:
    """Run each command some times, in turn."""
    runs = QUICK_RUNS if quick else RUNS
    with (
        sandbox_process() as control,
        redis_server() as redis_url,
        tempfile.TemporaryDirectory() as compiled,
    ):
        settings = settings_for(redis_url, control.base_url)
        with closing(services(settings)) as work:
            [account] = fill(work, control, 1, 1, stuck=True)
        event = [account.sub, account.calendar_id, account.event_ids[0]]
        variables = {**os.environ, **environment(settings), "PYTHONPYCACHEPREFIX": compiled}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        ours = [sys.executable, "-c", "from worker.cli import main; main()"]
        commands = {
            "Python alone": [sys.executable, "-c", ""],
            "the libraries alone": [sys.executable, "-c", LIBRARIES],
            "--help": [*ours, "--help"],
            "healthcheck beat": [*ours, "healthcheck", "beat"],
            "status": [*ours, "status"],
            "list": [*ours, "list"],
            "explain --offline": [*ours, "explain", "--offline", *event],
            "explain": [*ours, "explain", *event],
            "untrack": [*ours, "untrack", account.sub, account.calendar_id, "another"],
            "doctor": [*ours, "doctor"],
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        # The first round compiles, and does not count.
        for each in progress(range(runs + 1), "Commands", transient=True, disable=not sys.stdout.isatty()):
            for name, command in commands.items():
                times = _times(command, variables)
                if each:
                    taken[name].append(times)
    rows: list[Mapping[str, Value]] = [
        {
            "command": name,
            "CPU ms": 1000 * median(cpu for cpu, _ in times),
            "seconds to its end": median(wall for _, wall in times),
        }
        for name, times in taken.items()
    ]
    return Report(
        name="commands",
        title="CPU time of the commands",
        headings=HEADINGS,
        rows=rows,
        notes=("CPU: user and system time of the process. Medians of the runs.",),
        settings={"runs": runs},
    )


def _times(command: Sequence[str], variables: Mapping[str, str]) -> tuple[float, float]:
    """The CPU time of a process, and how long it took, in seconds."""
    nothing = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    begun = time.perf_counter()
    pid = os.posix_spawn(command[0], list(command), variables, file_actions=nothing)
    _, _, used = os.wait4(pid, 0)
    return used.ru_utime + used.ru_stime, time.perf_counter() - begun
