"""Liveness files: what they say about processes that are alive, silent, or dead."""

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
from worker.host.liveness import create_file, liveness_dir, living


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return liveness_dir()


_START = "import os, time; from worker.host.liveness import create_file; write = create_file('worker')\n"
_SILENT = _START + "print(flush=True); time.sleep(60)"


@contextmanager
def another_process(program: str = _SILENT) -> Iterator[subprocess.Popen[bytes]]:
    """A process that creates its file and is silent from then on."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_nothing_is_alive_where_nothing_ran(place: Path) -> None:
    """Asking creates nothing."""
    assert living("worker") == []
    assert not place.exists()


def test_a_silent_process_ages_until_it_is_dead() -> None:
    """Its age grows while it lives; once killed it is not listed, even if a forked child outlives it."""
    fork = "if os.fork() == 0: time.sleep(5); os._exit(0)\n"
    with another_process(_START + fork + "print(flush=True); time.sleep(60)") as process:
        [found] = living("worker")
        assert found.pid == process.pid
        wait_until(lambda: living("worker")[0].age_seconds > found.age_seconds + 0.2)
        assert living("beat") == []

        process.kill()
        process.wait()

        assert living("worker") == []


def test_a_running_loop_stays_fresh() -> None:
    """Other processes see it at once."""
    program = _START + "print(flush=True)\nwhile True: time.sleep(0.05); write()"
    with another_process(program):
        ages = [living("worker")[0].age_seconds]

        def is_younger() -> bool:
            ages.append(living("worker")[0].age_seconds)
            return ages[-1] < ages[-2]

        for _ in range(3):
            wait_until(is_younger, interval=0.001)


def test_the_file_of_a_dead_process_is_removed_at_the_next_start(place: Path) -> None:
    """They do not pile up, and live processes keep theirs."""
    with another_process() as living:
        with another_process() as dead:
            dead.kill()
        assert len(list(place.glob("worker-*"))) == 2

        create_file("worker")

        kept = {f"worker-{living.pid}", f"worker-{os.getpid()}"}
        assert {path.name for path in place.glob("worker-*")} == kept


@pytest.mark.parametrize("link", [False, True], ids=["others may write to it", "a link to elsewhere"])
def test_a_directory_of_others_is_not_trusted(place: Path, tmp_path: Path, link: bool) -> None:
    """A directory that others may have written to is neither used nor read."""
    if link:
        place.symlink_to(tmp_path)
    else:
        place.mkdir()
        place.chmod(0o777)

    with pytest.raises(PermissionError, match="not a directory of this user alone"):
        create_file("worker")
    assert living("worker") == []
