"""The demo, as someone trying out the program runs it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.acceptance.harness import CAUSES
from tests.acceptance.processes import environment, run_command, running_demo
from tests.waiting import wait_until


def test_the_demo_ends_by_itself(tmp_path: Path, long: bool) -> None:
    """It exits with 0, and leaves nothing behind in its working directory."""
    if not long:
        pytest.skip("the quick form asks a demo that is kept")
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()

    with running_demo(home, elsewhere) as demo:
        code = demo.process.wait(90)

    assert code == 0, demo.output.read_text()
    assert list(home.iterdir()) == []


def test_the_demo_shows_every_cause_and_can_be_queried(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The commands it prints at its end work as shown, in the directory it names; Ctrl-C ends it, and nothing
    is left behind.
    """
    with running_demo(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("out"), "--keep") as kept:
        wait_until(lambda: "reconciler incidents" in kept.output.read_text(), 90, what="the end of the demo")
        shown = kept.output.read_text()
        assert [cause for cause in CAUSES if cause not in shown] == []
        home = Path(re.findall(r"^  cd (.+)$", shown, re.MULTILINE)[0])
        questions = re.findall(r"^  reconciler ((?:status|doctor|explain|incidents).*)$", shown, re.MULTILINE)

        answers = [run_command(home, environment(), *question.split()) for question in questions]
        kept.process.send_signal(signal.SIGINT)

        assert [answer.returncode for answer in answers] == [0, 0, 0, 0], answers
        assert "we have found no reason" in " ".join(answers[2].stdout.split())
        assert kept.process.wait(120) == 0
        assert not home.exists()
        assert list(kept.home.iterdir()) == []
