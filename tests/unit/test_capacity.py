"""How many processes a worker has by default: bounded, and within its container's limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.host.capacity import default_processes

MIB = 1 << 20
#: What version 1 says where nothing limits memory.
UNLIMITED = 9223372036854771712

V2 = "0::/\n"
POD = "0::/kubepods.slice/pod.slice/container.scope\n"
V1 = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"

#: Cores, what /proc/self/cgroup says, the files of control groups, and how many processes that makes.
MACHINES: dict[str, tuple[int, str, Mapping[str, object], int]] = {
    "a small machine": (2, V2, {}, 4),
    "six cores": (6, V2, {}, 6),
    "a large machine": (24, V2, {}, 8),
    "no control groups": (24, "", {}, 8),
    "a quota of CPU": (24, V2, {"cpu.max": "550000 100000"}, 6),
    "a quota of less than a core": (24, V2, {"cpu.max": "50000 100000"}, 4),
    "no quota": (24, V2, {"cpu.max": "max 100000", "memory.max": "max"}, 8),
    "a limit of memory": (24, V2, {"memory.max": 448 * MIB}, 5),
    "little memory": (24, V2, {"memory.max": 200 * MIB}, 1),
    "less than any worker needs": (24, V2, {"memory.max": 32 * MIB}, 1),
    "a limit around the container": (
        *(24, POD, {"kubepods.slice/pod.slice/memory.max": 256 * MIB, "memory.max": "max"}, 2),
    ),
    "version 1, its own group": (
        24,
        V1,
        {
            "memory/docker/abc/memory.limit_in_bytes": 384 * MIB,
            "memory/memory.limit_in_bytes": UNLIMITED,
            "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": -1,
            "cpu,cpuacct/docker/abc/cpu.cfs_period_us": 100000,
        },
        4,
    ),
    "version 1, seen from inside": (
        24,
        V1,
        {"cpu,cpuacct/cpu.cfs_quota_us": 500000, "cpu,cpuacct/cpu.cfs_period_us": 100000},
        5,
    ),
    "a path out of the namespace": (24, "0::/../../other\n", {"memory.max": 256 * MIB}, 2),
}


@pytest.mark.parametrize(("cores", "groups", "files", "processes"), MACHINES.values(), ids=MACHINES)
def test_the_default_is_bounded_by_cores_quota_and_memory(
    tmp_path: Path, cores: int, groups: str, files: Mapping[str, object], processes: int
) -> None:
    """Four to eight, fewer only where memory is short."""
    (tmp_path / "cgroup").write_text(groups)
    for name, content in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")

    assert default_processes(cores, tmp_path, tmp_path / "mount") == processes


def test_this_machine_has_an_answer() -> None:
    """With nothing given."""
    assert 1 <= default_processes() <= 8
