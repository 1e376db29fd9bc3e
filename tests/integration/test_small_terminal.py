"""What is refreshed in place fits a terminal of 80 by 24."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rich.console import Console

from sandbox.demo.cast import CAST
from sandbox.demo.show import View, table
from tests.acceptance.processes import RECONCILER, environment
from tests.integration.ledgers import an_event
from tests.integration.test_status import looked
from tests.terminals import COLUMNS, ROWS, on_a_terminal
from worker.diagnosis.model import Cause
from worker.ledger.ledger import Ledger


def test_the_watched_status_shows_how_to_quit_and_what_starts_next(
    ledger: Ledger, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    """Causes that no event has give way, and then the events that start last."""
    for number in range(8):
        ledger.track(f"acc-{number}", an_event(hours=number + 1))
    looked(ledger, "acc-1", Cause.UNEXPLAINED)
    env = {**environment(REDIS_URL=redis_url, KEY_PREFIX=prefix), "TERM": "xterm"}

    with on_a_terminal([RECONCILER, "status", "--watch"], env, tmp_path) as typist:
        assert typist.sees("q to quit"), typist.shown
        assert typist.sees("acc-0"), typist.shown
        first = typist.shown.partition("q to quit")[2]
        typist.type("q")
        assert typist.process.wait(30) == 0

    assert "unexplained" in first
    assert "Next to start without a link" in first
    assert first.count("\n") < ROWS


def test_the_demos_table_fits_with_its_whole_cast() -> None:
    """With the line below it, even when everything has happened."""
    ended = [View(part, None, part.end.outcomes) for part in CAST]

    lines = Console(width=COLUMNS, height=ROWS).render_lines(table(ended, live=True))

    assert len(lines) == 1 + len(CAST)
    assert len(lines) + len(["", "the line below", "the cursor"]) <= ROWS


def test_styles_are_for_terminals_that_have_them(
    ledger: Ledger, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    """Ids are dim, and what needs a person is yellow unless the reader wants no colour."""
    ledger.track("acc-1", an_event())
    base = environment(REDIS_URL=redis_url, KEY_PREFIX=prefix)
    shown = {}
    for command, term, colour in [
        ("list", "xterm", ""),
        ("list", "dumb", ""),
        ("status", "xterm", ""),
        ("status", "xterm", "1"),
    ]:
        env = {**base, "TERM": term, "NO_COLOR": colour}
        with on_a_terminal([RECONCILER, command], env, tmp_path) as typist:
            assert typist.sees("acc-1"), typist.shown
            assert typist.process.wait(30) == 0
            shown[command, term, colour] = typist.shown

    dim, yellow, any_style = "\x1b[2m", "\x1b[33m", "\x1b["
    assert dim in shown["list", "xterm", ""]
    assert any_style not in shown["list", "dumb", ""]
    assert yellow in shown["status", "xterm", ""]
    assert yellow not in shown["status", "xterm", "1"]


def test_a_line_that_is_too_long_goes_on_below_itself(
    ledger: Ledger, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    """On a terminal; a pipe gets it whole."""
    sub = f"acc-{'x' * COLUMNS}"
    ledger.track(sub, an_event())
    env = {**environment(REDIS_URL=redis_url, KEY_PREFIX=prefix), "TERM": "dumb"}

    piped = subprocess.run([RECONCILER, "status"], env=env, stdout=subprocess.PIPE, text=True, check=True)
    with on_a_terminal([RECONCILER, "status"], env, tmp_path) as typist:
        assert typist.sees(" e1"), typist.shown
        assert typist.process.wait(30) == 0

    assert max(map(len, piped.stdout.splitlines())) > COLUMNS
    assert max(map(len, typist.shown.splitlines())) <= COLUMNS
    assert f"    {sub}" in piped.stdout
    assert sub in "".join(typist.shown.split())
