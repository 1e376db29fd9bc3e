"""How many processes a worker has unless told: as many as suit the machine, or the container it runs in.

A container's limits are its control group's, of version 1 or 2, or those of a group around it. A file that is
not there, or says nothing, limits nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

#: With fewer, one long batch could keep urgent requests waiting; a waiting process costs no CPU.
LEAST_PROCESSES = 4
#: Half as many already look at more accounts than Cronofy's limits allow, and each takes memory.
MOST_PROCESSES = 8
#: What a worker takes before it forks, and for each process, with room (`python -m benchmarks memory`).
FIRST_BYTES, EACH_BYTES = 128 << 20, 64 << 20


def default_processes(
    cores: int | None = None, proc: Path = Path("/proc/self"), mount: Path = Path("/sys/fs/cgroup")
) -> int:
    """How many processes to fork, at least 1. `cores` is how many there are, by default those we may use.

    `proc` and `mount` are where Linux tells of a process and of control groups.
    """
    groups = list(_groups(proc, mount))
    usable = min([cores or _usable_cores(), *(found for group in groups for found in _cores(group))])
    wanted = max(LEAST_PROCESSES, min(MOST_PROCESSES, math.ceil(usable)))
    fitting = [(limit - FIRST_BYTES) // EACH_BYTES for group in groups for limit in _bytes(group)]
    return max(1, min([wanted, *fitting]))


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(proc: Path, mount: Path) -> Iterator[Path]:
    """The folders of our control groups, and of all around them: each one's limits count."""
    with suppress(OSError):
        for line in (proc / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            # Inside a container the path may be the host's; then only the mount itself is there.
            names = [name for name in PurePosixPath(path).parts if name not in {"/", ".."}]
            for depth in range(len(names), -1, -1):
                yield mount.joinpath(controllers, *names[:depth])


def _cores(group: Path) -> Iterator[float]:
    """The quota of CPU time, as a number of cores."""
    with suppress(OSError, ValueError):  # "max" is no number
        quota, period = (group / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:
            yield int(quota) / int(period)


def _bytes(group: Path) -> Iterator[int]:
    """The limit of memory."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            yield int((group / name).read_text())
