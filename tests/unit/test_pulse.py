"""The pulse: told from outside, of processes that live, are silent, or are dead."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until
from worker.host import liveness as pulse
from worker.host.liveness import Pulse, living_signs


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of the test's own for the files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return pulse.pulse_dir()


_SILENT = (
    "import time; from worker.host.liveness import Pulse; Pulse('worker'); print(flush=True); time.sleep(60)"
)


@contextmanager
def another_process(program: str = _SILENT) -> Iterator[subprocess.Popen[bytes]]:
    """A process that makes its file and is silent ever after."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_where_nothing_ran_there_is_no_sign(place: Path) -> None:
    """Asking makes nothing."""
    assert living_signs("worker") == []
    assert not place.exists()


def test_a_silent_process_ages_until_it_is_dead() -> None:
    """Its age grows while it lives; once it is killed it is no longer told of."""
    with another_process() as process:
        [sign] = living_signs("worker")
        assert sign.pid == process.pid
        wait_until(lambda: living_signs("worker")[0].age_seconds > sign.age_seconds + 0.2)
        assert living_signs("beat") == []

        process.kill()
        process.wait()

        assert living_signs("worker") == []


def test_a_beat_makes_it_young_again() -> None:
    """What a loop writes is what others read."""
    program = (
        "import sys, time; from worker.host.liveness import Pulse; p = Pulse('worker'); print(flush=True)\n"
        "while True: time.sleep(0.05); p.beat()"
    )
    with another_process(program):
        ages = [living_signs("worker")[0].age_seconds]

        def is_younger() -> bool:
            ages.append(living_signs("worker")[0].age_seconds)
            return ages[-1] < ages[-2]

        for _ in range(3):
            wait_until(is_younger, interval=0.001)


def test_the_file_of_a_dead_process_goes_with_the_next_ones_start(place: Path) -> None:
    """They do not pile up, and the living keep theirs."""
    with another_process() as living:
        with another_process() as dead:
            dead.kill()
            dead.wait()
        assert len(list(place.glob("worker-*"))) == 2

        Pulse("worker")

        assert {path.name for path in place.glob("worker-*")} == {
            f"worker-{living.pid}",
            f"worker-{os.getpid()}",
        }


def test_a_forked_child_does_not_keep_a_dead_process_alive() -> None:
    """A pool's processes outlive a killed worker for a moment, and are not it."""
    program = (
        "import os, time; from worker.host.liveness import Pulse; Pulse('worker')\n"
        "if os.fork() == 0: time.sleep(5); os._exit(0)\n"
        "print(flush=True); time.sleep(60)"
    )
    with another_process(program) as process:
        assert len(living_signs("worker")) == 1
        process.kill()
        process.wait()

        assert living_signs("worker") == []


def test_a_directory_of_others_is_not_trusted(place: Path) -> None:
    """One that others may write to is neither used nor believed."""
    place.mkdir()
    place.chmod(0o777)

    with pytest.raises(PermissionError, match="not a directory of this user alone"):
        Pulse("worker")
    assert living_signs("worker") == []


def test_a_link_to_elsewhere_is_not_followed(place: Path, tmp_path: Path) -> None:
    """Nor is one that somebody put in its place."""
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PermissionError):
        Pulse("worker")
