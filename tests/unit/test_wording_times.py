"""Times and amounts, as people read them in a terminal, on the board and in emails."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from worker import wording
from worker.wording import utc


def test_a_time_is_in_utc_wherever_it_was_said() -> None:
    """To the second, and it says so."""
    there = datetime(2026, 12, 1, 9, 0, 5, tzinfo=timezone(timedelta(hours=9)))

    assert utc(there) == utc(there.astimezone(UTC)) == "2026-12-01 00:00:05 UTC"


def test_no_other_module_spells_a_time() -> None:
    """So the same moment reads the same everywhere. A diagnosis says a start in the meeting's own zone."""
    place = Path(wording.__file__)
    modules = [path for path in place.parent.rglob("*.py") if path != place]
    others = [path for path in modules if path.parent.name != "diagnosis"]

    assert [path.name for path in others if re.search(r"%H:%M|%I:%M", path.read_text())] == []
