"""What is refreshed in place fits a terminal of 80 by 24."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from sandbox.demo.cast import CAST
from sandbox.demo.show import View, live_table
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

    lines = Console(width=COLUMNS, height=ROWS).render_lines(live_table(ended))

    assert len(lines) == 1 + len(CAST)
    assert len(lines) + len(["", "the line below", "the cursor"]) <= ROWS
