"""Which days are read for the events that are due."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from tests.unit.builders import DAY, NOW, tracked
from worker.cronofy.client import Window
from worker.ledger.records import TrackedEvent
from worker.reconcile.observe import window_of


def starting(*starts: Any) -> list[TrackedEvent]:
    """Events with these starts, as callers wrote them."""
    return [
        tracked(str(place), body={"start": start.isoformat() if isinstance(start, datetime) else start})
        for place, start in enumerate(starts)
    ]


@pytest.mark.parametrize(
    ("starts", "window"),
    [
        pytest.param([NOW + DAY], Window(date(2026, 12, 1), date(2026, 12, 4)), id="one"),
        pytest.param(
            [NOW + 20 * DAY, NOW + DAY, NOW + 3 * DAY],
            Window(date(2026, 12, 1), date(2026, 12, 23)),
            id="from the first to the last",
        ),
        pytest.param(
            [NOW - 40 * DAY], Window(date(2026, 10, 21), date(2026, 10, 24)), id="as far back as can be"
        ),
        pytest.param([NOW - 41 * DAY], None, id="further back"),
        pytest.param(
            [NOW + 198 * DAY], Window(date(2027, 6, 16), date(2027, 6, 19)), id="as far ahead as can be"
        ),
        pytest.param([NOW + 199 * DAY], None, id="further ahead"),
        pytest.param([NOW, NOW + 199 * DAY], None, id="one of two too far"),
        pytest.param([None], None, id="unknown"),
        pytest.param(["soon"], None, id="not readable"),
        pytest.param([NOW, None], None, id="one of two unknown"),
        pytest.param([], None, id="no event"),
    ],
)
def test_windows(starts: list[Any], window: Window | None) -> None:
    """The window holds all starts with a day to spare, or there is none where it cannot be named."""
    assert window_of(starting(*starts), NOW) == window


@pytest.mark.parametrize("tzid", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
@pytest.mark.parametrize("hour", [0, 1, 12, 23])
def test_whole_days_are_inside(tzid: str, hour: int) -> None:
    """An all-day event is in the window whatever its zone, and its day comes before the exclusive end."""
    whole = NOW.date() + timedelta(days=5)

    window = window_of(starting({"time": whole.isoformat(), "tzid": tzid}), NOW.replace(hour=hour))

    assert window is not None
    assert window.first <= whole < window.last


@pytest.mark.parametrize(
    "start", ["0001-01-01T00:00:00Z", "0001-01-01", "9999-12-31T00:00:00Z", "9999-12-31"]
)
def test_ends_of_time(start: str) -> None:
    """A start at the first or last day, which some clients write for "no date", only means: no window."""
    assert window_of(starting(start), NOW) is None
    assert window_of(starting(start, NOW), NOW) is None
