"""Relink episodes: the reminders after the first email, and how an episode ends (contract §4 and §6)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.unit.builders import (
    CALENDAR,
    DAY,
    FAR,
    HOUR,
    NOW,
    SECOND,
    SUB,
    lapsed,
    plan,
    profile,
    running,
    tracked,
    userinfo,
)
from worker.diagnosis.model import Cause
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Episode, to_ms


@pytest.mark.parametrize(
    ("mails", "after", "reminder"),
    [
        pytest.param(1, DAY - SECOND, None, id="before the first"),
        pytest.param(1, DAY, 1, id="the first"),
        pytest.param(2, DAY, None, id="the first was sent"),
        pytest.param(2, 3 * DAY - SECOND, None, id="before the second"),
        pytest.param(2, 3 * DAY, 2, id="the second"),
        pytest.param(3, 7 * DAY - SECOND, None, id="before the third"),
        pytest.param(3, 7 * DAY, 3, id="the third"),
        pytest.param(4, 7 * DAY, None, id="the third was sent"),
        pytest.param(4, 20 * DAY, None, id="no fourth"),
    ],
)
def test_reminders(mails: int, after: timedelta, reminder: int | None) -> None:
    """Reminders count from the first email, each is sent once, and none follows the last."""
    result = plan([tracked("a", start=FAR)], episodes=running(mails), now=NOW + after)

    assert [email.reminder for _, email in result.emails] == ([] if reminder is None else [reminder])
    assert result.episodes["pro_a"].mails == (mails if reminder is None else mails + 1)
    assert result.episodes["pro_a"].started_at == to_ms(NOW)
    assert result.outcomes == ()


def test_a_reminder_lists_what_is_upcoming() -> None:
    """A reminder adds new events and drops those that have begun; the episode remembers all."""
    events = [tracked("b", start=FAR), tracked("c", start=FAR)]

    result = plan(events, episodes=running(1, "a", "b"), now=NOW + DAY)

    assert result.listed == [("b", "c")]
    ((mail_id, _),) = result.emails
    assert result.episodes["pro_a"].mail_ids == ("mail_0", mail_id)
    assert result.episodes["pro_a"].events == ((CALENDAR, "a"), (CALENDAR, "b"), (CALENDAR, "c"))


def test_no_reminder_without_an_upcoming_event() -> None:
    """Without an affected event, nobody is reminded, however long the profile stays disconnected."""
    past = tracked("a", start=NOW + HOUR)

    assert plan([past], episodes=running(), now=NOW + DAY).emails == ()
    assert plan([], others=[past], episodes=running(), now=NOW + DAY).emails == ()


def test_the_whole_episode() -> None:
    """Looked at every hour for a month, a user gets four emails in all, a day, three and seven days apart."""
    episodes: dict[str, Episode] = {}
    event = tracked("a", start=NOW + 60 * DAY)
    sent = []
    for hour in range(24 * 30):
        result = plan([event], episodes=episodes, now=NOW + hour * HOUR)
        episodes, event = result.episodes, result.verdicts[0].after
        sent += [(hour / 24, email.reminder) for _, email in result.emails]

    assert sent == [(0, 0), (1, 1), (3, 2), (7, 3)]


def test_events_after_the_last_reminder() -> None:
    """An event that appears after the last reminder is reported to a person once; the others are not."""
    event = tracked("late", start=FAR)
    first = plan([tracked("a", start=FAR), event], episodes=running(4), now=NOW + 8 * DAY)
    late = first.verdicts[1].after
    second = plan([late], episodes=first.episodes, now=NOW + 9 * DAY)

    assert list(first.escalations) == ["late"]
    assert "reminded, before this event came" in first.escalations["late"]
    assert (second.escalations, first.emails, second.emails) == ({}, (), ())


def test_relinked() -> None:
    """Once the user has connected the profile, one outcome says so, the episode ends and unsent emails go."""
    back = userinfo(profile("pro_a"))

    result = plan([tracked("a", start=FAR)], back, episodes=running(2, "a", "b"), now=NOW + 3 * DAY)

    detail = {"profile_id": "pro_a", "event_ids": ["a", "b"]}
    assert result.outcomes == (
        Outcome(OutcomeType.RELINKED, SUB, NOW + 3 * DAY, None, None, Cause.CREDENTIALS_EXPIRED, detail),
    )
    assert result.plan.cancel == ("mail_0", "mail_1")
    assert (result.episodes, result.emails) == ({}, ())
    assert plan([], back, episodes=result.episodes).outcomes == ()


def test_disconnected_again() -> None:
    """A profile that is disconnected again begins a new episode with a first email."""
    over = plan([], userinfo(profile("pro_a")), episodes=running(4), now=NOW + 8 * DAY)
    # Its events may have settled in the meantime.
    assert [outcome.type for outcome in over.outcomes] == [OutcomeType.RELINKED]

    again = plan([tracked("a", start=FAR)], episodes=over.episodes, now=NOW + 9 * DAY)

    assert [email.reminder for _, email in again.emails] == [0]
    assert again.episodes["pro_a"].started_at == to_ms(NOW + 9 * DAY)


def test_removed_ends_silently() -> None:
    """A profile that is no longer listed was not relinked: its episode ends without an outcome."""
    result = plan([tracked("a", start=FAR)], userinfo(), episodes=running(2), now=NOW + 3 * DAY)

    assert (result.outcomes, result.emails, result.episodes) == ((), (), {})
    assert result.plan.cancel == ("mail_0", "mail_1")


def test_one_ends_and_the_other_goes_on() -> None:
    """Ending one profile's episode does not affect another's."""
    episodes = running() | {"pro_b": Episode(to_ms(NOW), 1, ("mail_b",), ((CALENDAR, "b"),))}

    result = plan([tracked("a", start=FAR)], userinfo(lapsed("pro_a"), profile("pro_b")), episodes=episodes)

    assert result.episodes == running()
    assert result.plan.cancel == ("mail_b",)
    assert [outcome.detail["profile_id"] for outcome in result.outcomes] == ["pro_b"]


@pytest.mark.parametrize(
    ("mails", "now", "start", "expected"),
    [
        pytest.param(1, NOW + 20 * HOUR, FAR, NOW + DAY, id="the first reminder comes first"),
        pytest.param(1, NOW + 17 * HOUR, FAR, NOW + 23 * HOUR, id="the look comes first"),
        pytest.param(1, NOW + 20 * HOUR, NOW + 24 * HOUR, NOW + 21 * HOUR, id="the start draws it nearer"),
        pytest.param(2, NOW + 70 * HOUR, FAR, NOW + 3 * DAY, id="the second reminder"),
        pytest.param(4, NOW + 8 * DAY, FAR, NOW + 8 * DAY + 6 * HOUR, id="no reminder left"),
    ],
)
def test_next_look(mails: int, now: datetime, start: datetime, expected: datetime) -> None:
    """The next look is no later than the next reminder, since looks send it."""
    result = plan([tracked("a", start=start, interval=21600.0)], episodes=running(mails), now=now)

    assert result.verdicts[0].after.next_look == to_ms(expected)
