"""The demo, as someone trying out the program runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.acceptance.harness import CAUSES
from tests.acceptance.processes import environment, running_demo
from tests.waiting import wait_until


def test_the_demo_ends_by_itself(tmp_path: Path, long: bool) -> None:
    """It exits with 0, and leaves nothing behind in its working directory."""
    if not long:
        pytest.skip("the quick form asks a demo that is kept")
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()

    with running_demo(home, elsewhere) as demo:
        code = demo.process.wait(200)

    assert code == 0, demo.output.read_text()
    assert list(home.iterdir()) == []


def test_the_demo_shows_every_cause_and_can_be_queried(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its commands work as typed in another terminal, and so does the board's link; Ctrl-C ends it."""
    with running_demo(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("out"), "--keep") as kept:
        wait_until(
            lambda: kept.output.read_text().rstrip().endswith(" incidents"), 200, what="the end of the demo"
        )
        shown = kept.output.read_text()
        assert [cause for cause in CAUSES if cause not in shown] == []
        [board] = re.findall(r"^  board +(\S+)$", shown, re.MULTILINE)
        [change, *questions] = [line.strip() for line in shown.partition("To query it")[2].splitlines()[1:]]

        page = httpx.get(board, follow_redirects=True)
        answers = [_typed(change, question) for question in questions]
        kept.process.send_signal(signal.SIGINT)

        assert (page.status_code, "reconciler" in page.text) == (200, True), page.text
        assert [answer.returncode for answer in answers] == [0, 0, 0, 0], answers
        assert "we have found no reason" in " ".join(answers[2].stdout.split())
        assert kept.process.wait(120) == 0
        assert not Path(change.removeprefix("cd ")).exists()
        assert list(kept.home.iterdir()) == []


def _typed(*lines: str) -> subprocess.CompletedProcess[str]:
    """What these lines do in a shell of a person's own, where no environment of Python's is active."""
    path = os.pathsep.join(
        each for each in os.environ["PATH"].split(os.pathsep) if not (Path(each) / "reconciler").exists()
    )
    return subprocess.run(
        ["sh", "-e"],
        input="\n".join(lines),
        env={**environment(), "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
