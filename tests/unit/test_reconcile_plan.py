"""A look's plan: which days to read, whether UserInfo comes first, and how many calls that takes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.builders import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    RULES,
    TICK,
    concluded,
    labelled,
    lapsed,
    seen,
    tracked,
    userinfo,
)
from worker.cronofy.client import Window
from worker.diagnosis.model import Missing
from worker.ledger.records import Episode, LastRead, Memo, Obstacle, TrackedEvent, to_ms
from worker.reconcile.observe import ReadingPlan, plan_reading, windows_for


def starting(*starts: Any) -> list[TrackedEvent]:
    """Events with these starts, as callers wrote them."""
    return [
        tracked(str(place), body={"start": start.isoformat() if isinstance(start, datetime) else start})
        for place, start in enumerate(starts)
    ]


@pytest.mark.parametrize(
    ("starts", "first", "last"),
    labelled(
        ("one", [NOW + DAY], 0, 3),
        ("from the first to the last", [NOW + 20 * DAY, NOW + DAY, NOW + 3 * DAY], 0, 22),
        ("as far back as can be", [NOW - 40 * DAY], -41, -38),
        ("further back", [NOW - 41 * DAY], None, None),
        ("as far ahead as can be", [NOW + 198 * DAY], 197, 200),
        ("further ahead", [NOW + 199 * DAY], None, None),
        ("one of two too far", [NOW, NOW + 199 * DAY], None, None),
        ("unknown", [None], None, None),
        ("not readable", ["soon"], None, None),
        ("one of two unknown", [NOW, None], None, None),
        ("no event", [], None, None),
        ("the first moment", ["0001-01-01T00:00:00Z"], None, None),
        ("the first day, which some clients write for no date", ["0001-01-01", NOW], None, None),
        ("the last moment", ["9999-12-31T00:00:00Z", NOW], None, None),
        ("the last day", ["9999-12-31"], None, None),
    ),
)
def test_windows(starts: list[Any], first: int | None, last: int | None) -> None:
    """The window covers all starts with a day to spare (here in days from now), or there is none."""
    today = NOW.date()
    window = (
        Window(today + first * DAY, today + last * DAY) if first is not None and last is not None else None
    )

    assert windows_for(starting(*starts), None, NOW) == (window,)


@pytest.mark.parametrize("tzid", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
@pytest.mark.parametrize("hour", [0, 1, 12, 23])
def test_whole_days_are_inside(tzid: str, hour: int) -> None:
    """An all-day event is in the window whatever its zone: its day is before the exclusive end."""
    whole = NOW.date() + timedelta(days=5)

    whole_day = starting({"time": whole.isoformat(), "tzid": tzid})
    (window,) = windows_for(whole_day, None, NOW.replace(hour=hour))

    assert window is not None
    assert window.first <= whole < window.last


@pytest.mark.parametrize(
    ("days", "last_read", "expected"),
    [
        pytest.param((1, 90), None, [92], id="nothing known yet: one read"),
        pytest.param((1, 90), LastRead(1, 92), [92], id="it was one page: one read"),
        pytest.param((1, 90), LastRead(2, 92), [92], id="two pages or two reads: one read"),
        pytest.param((1, 90), LastRead(9, 92), [3, 3], id="nine pages or two reads"),
        pytest.param((1, 2, 3, 90, 91), LastRead(9, 92), [5, 4], id="neighbours stay together"),
        pytest.param((1, 30, 60, 90), LastRead(3, 92), [92], id="three pages or four reads: one read"),
        pytest.param((1, 90), LastRead(9, None), [92], id="all of time was read: not known how many a day"),
    ],
)
def test_reads_are_split_only_where_that_costs_fewer_pages(
    days: tuple[int, ...], last_read: LastRead | None, expected: list[int]
) -> None:
    """The last read gives an estimate of pages per day."""
    windows = windows_for(starting(*(NOW + day * DAY for day in days)), last_read, NOW)

    assert [(window.last - window.first).days for window in windows if window] == expected


def pending(event: TrackedEvent, **userinfo_changes: Any) -> TrackedEvent:
    """The event after a look that found it pending with a connected profile."""
    return concluded(event, None, userinfo(**userinfo_changes)).after


def hidden(event: TrackedEvent) -> TrackedEvent:
    """The event after a look that did not find it, nor its calendar."""
    return concluded(event, Missing(), userinfo()).after


@pytest.mark.parametrize(
    ("events", "memo", "calls"),
    [
        pytest.param([tracked()], Memo(), 1, id="first look: mostly the read settles it"),
        pytest.param([pending(tracked())], Memo(), 2, id="it was pending: UserInfo as well"),
        pytest.param([hidden(tracked())], Memo(), 3, id="its calendar was not connected: a second read too"),
        pytest.param([tracked("b"), pending(tracked())], Memo(), 2, id="one of two was"),
        pytest.param([tracked()], Memo({"pro": Episode(0, 1, (), ())}), 2, id="a user was asked to relink"),
        pytest.param([tracked()], Memo(last_read=LastRead(6, 3)), 6, id="as many pages as last time"),
        pytest.param([tracked()], Memo(last_read=LastRead(6, None)), 6, id="the same, of all time"),
        pytest.param([tracked()], Memo(last_read=LastRead(6, 60)), 1, id="fewer days, fewer pages"),
    ],
)
def test_what_a_look_will_cost(events: list[TrackedEvent], memo: Memo, calls: int) -> None:
    """The pages of its reads, plus UserInfo if it is likely to be needed."""
    assert plan_reading(events, memo, RULES, NOW).calls == calls


def waiting_for_user(ago: timedelta = MINUTE, **fields: Any) -> TrackedEvent:
    """An event whose profile was disconnected at a look this long ago."""
    event = tracked(**fields)
    return concluded(event, seen(event.start), userinfo(lapsed()), now=NOW - ago).after


POSTPONED = Memo({"pro_a": Episode(to_ms(NOW - HOUR), 0, (), ())})
REMINDER_DUE = Memo({"pro_a": Episode(to_ms(NOW - DAY), 1, ("mail",), ())})
ASKED = Memo({"pro_a": Episode(to_ms(NOW - HOUR), 1, ("mail",), ())})


def test_userinfo_comes_first_while_the_user_is_waited_for() -> None:
    """The event cannot have changed while its profile is disconnected: one call is enough."""
    plan = plan_reading([waiting_for_user(), waiting_for_user(event_id="b")], ASKED, RULES, NOW)

    assert (plan.waited_for, plan.calls) == (frozenset({"pro_a"}), 1)


@pytest.mark.parametrize(
    ("events", "memo", "force_read"),
    [
        pytest.param([waiting_for_user()], ASKED, True, id="somebody asks, or was notified"),
        pytest.param([waiting_for_user(), tracked("new")], ASKED, False, id="another event was never seen"),
        pytest.param([waiting_for_user(), pending(tracked("b"))], ASKED, False, id="another waits"),
        pytest.param([waiting_for_user(HOUR)], ASKED, False, id="an hour since the last read"),
        pytest.param([waiting_for_user(start=NOW)], ASKED, False, id="it starts now"),
        pytest.param([waiting_for_user()], Memo(), False, id="the user was not asked yet"),
        # It may only name what was just read.
        pytest.param([waiting_for_user()], REMINDER_DUE, False, id="a reminder is due"),
        pytest.param([waiting_for_user()], POSTPONED, False, id="the first email was put off"),
    ],
)
def test_the_event_itself_is_read_where_it_matters(
    events: list[TrackedEvent], memo: Memo, force_read: bool
) -> None:
    """UserInfo alone is not enough."""
    assert plan_reading(events, memo, RULES, NOW, force_read=force_read).waited_for == frozenset()


@pytest.mark.parametrize(
    "episode",
    [
        pytest.param(Episode(to_ms(NOW - DAY + TICK * 1000), 1, ("mail",), ()), id="a reminder is due soon"),
        pytest.param(Episode(to_ms(NOW - 9 * DAY), 4, ("mail",), ()), id="all reminders went out"),
        pytest.param(
            Episode(to_ms(NOW - 9 * DAY), 0, (), (), Obstacle.NO_ADDRESS), id="no email could be sent"
        ),
    ],
)
def test_userinfo_alone_is_enough_where_no_reminder_is_due(episode: Episode) -> None:
    """No matter how long it takes."""
    plan = plan_reading([waiting_for_user()], Memo({"pro_a": episode}), RULES, NOW)

    assert plan == ReadingPlan(plan.windows, frozenset({"pro_a"}), ask_userinfo=True, calls=1)
