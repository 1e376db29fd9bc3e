"""The order of ready accounts: the soonest meeting first, but nobody waits forever."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.ledgers import LONG, NOW, an_event, standing
from tests.waiting import wait_until
from worker.ledger.leases import Change, EventChange
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.packing import pack_notice
from worker.ledger.records import TrackedEvent, to_ms

DAY = timedelta(days=1)


def waiting(hours: float, *, since: timedelta = timedelta(minutes=1)) -> TrackedEvent:
    """An event that starts in this many hours from now and has been due for `since`."""
    late = (datetime.now(UTC) - NOW).total_seconds() / 3600
    return replace(an_event(hours=hours + late), next_look=to_ms(NOW - since))


def order(ledger: Ledger, *data_centers: str) -> list[str]:
    """All ready accounts, in the order they are claimed."""
    ledger.promote(1000)
    claims = (ledger.claim(LONG, data_centers) if data_centers else ledger.claim(LONG) for _ in range(1000))
    return [lease.sub for lease in iter(lambda: next(claims), None) if lease]


def connect(ledger: Ledger, sub: str, data_center: str) -> None:
    """Connect an account in that data centre."""
    ledger.connect(Connecting(sub, Credentials("refresh"), data_center, None, None))


def test_starts_keep_their_order_however_far_away(ledger: Ledger) -> None:
    """Within the first day and beyond it."""
    hours = [1, 20, 23.9, 24.1, 48, 30 * 24, 31 * 24, 200 * 24]
    for number, start in enumerate(reversed(hours)):
        ledger.track(f"acc{len(hours) - 1 - number}", waiting(start))

    assert order(ledger) == [f"acc{number}" for number in range(len(hours))]


@pytest.mark.parametrize(
    ("waited", "hours", "first"),
    [
        pytest.param(24, 48, "old", id="a day's wait goes before a meeting two days away"),
        pytest.param(12, 10, "new", id="half a day's wait goes behind one in ten hours"),
        pytest.param(45, 10, "old", id="45 hours' wait goes before it"),
    ],
)
def test_nothing_waits_forever(ledger: Ledger, waited: int, hours: int, first: str) -> None:
    """A distant meeting that has long been due goes before nearer ones that just became due."""
    ledger.track("old", waiting(100 * 24, since=timedelta(hours=waited)))
    ledger.track("new", waiting(hours))

    assert order(ledger)[0] == first


def test_an_unknown_start_waits_no_longer_than_others(ledger: Ledger) -> None:
    """It counts as far away, but still gets its turn."""
    unknown = replace(waiting(1, since=2 * DAY), body={"event_id": "e1", "summary": "When?"})
    ledger.track("unknown", unknown)
    ledger.track("soon", waiting(2))
    ledger.track("soonest", waiting(1))

    assert order(ledger) == ["unknown", "soonest", "soon"]


def test_started_meetings_come_after_those_that_can_still_be_helped(ledger: Ledger) -> None:
    """A past meeting is closed when there is time, within a day."""
    ledger.track("past", waiting(-1))
    ledger.track("in two days", looked_at(waiting(48)))
    ledger.track("in half an hour", looked_at(waiting(0.5)))
    ledger.track("past for long", waiting(-1, since=timedelta(hours=25)))

    assert order(ledger) == ["past for long", "in half an hour", "past", "in two days"]


def test_a_meeting_that_starts_while_waiting_loses_its_turn(ledger: Ledger) -> None:
    """An account that was ready in time, but not reached, delays nobody else."""
    now = ledger.now()
    starting = (now + timedelta(milliseconds=60)).isoformat()
    ledger.track("starting", replace(waiting(1), body={"event_id": "e1", "start": starting}))
    ledger.track("soon", waiting(0.5))
    ledger.promote(10)
    wait_until(lambda: ledger.now() > now + timedelta(milliseconds=70), what="the start")

    assert order(ledger) == ["soon", "starting"]


def test_only_meetings_that_are_due_and_to_come_count(ledger: Ledger) -> None:
    """An account's turn follows the next meeting that its look can help."""
    ledger.track("acc", waiting(-1))
    ledger.track("other", an_event("not-due", hours=0.1, due=False))
    ledger.track("acc", replace(an_event("e2", hours=1), next_look=to_ms(NOW)))
    ledger.track("other", waiting(2))

    assert order(ledger) == ["acc", "other"]


def test_a_released_account_keeps_its_age(ledger: Ledger) -> None:
    """Being put off for lack of budget does not cost its place."""
    ledger.track("old", waiting(100 * 24, since=2 * DAY))
    ledger.track("new", waiting(20 * 24))
    ledger.promote(10)
    lease = ledger.claim(LONG)
    assert lease is not None
    ledger.release(lease)

    assert (lease.sub, order(ledger)) == ("old", ["old", "new"])


def test_data_centres_are_taken_from_separately(ledger: Ledger) -> None:
    """If one may not be called, the accounts of the others continue, by the soonest start."""
    for sub, center, hours in (("a", "us", 1), ("b", "de", 2), ("c", "us", 3), ("d", "uk", 4)):
        connect(ledger, sub, center)
        ledger.track(sub, waiting(hours))

    assert ledger.promote(10).ready == {"us": 2, "au": 0, "ca": 0, "de": 1, "sg": 0, "uk": 1}
    assert order(ledger, "de", "uk") == ["b", "d"]
    assert order(ledger) == ["a", "c"]


def test_an_account_that_moves_data_centre_is_served_there(ledger: Ledger) -> None:
    """It is never ready in two places."""
    ledger.track("acc", waiting(1))
    connect(ledger, "acc", "us")
    ledger.promote(10)

    connect(ledger, "acc", "de")

    assert standing(ledger, "acc") == {"ready"}
    assert (order(ledger, "us"), order(ledger, "de")) == ([], ["acc"])


def looked_at(event: TrackedEvent) -> TrackedEvent:
    """The event after a look that found it waiting."""
    return replace(event, last={"state": "pending", "cause": "provider_outage", "detail": {}})


def test_a_first_look_goes_before_another_look(ledger: Ledger) -> None:
    """Whatever merely waits comes behind what was never looked at, and each by the soonest start."""
    ledger.track("waits, 3 h", looked_at(waiting(3)))
    ledger.track("waits, 1 h", looked_at(waiting(1)))
    ledger.track("new, two days", waiting(48))
    ledger.track("new, 5 h", waiting(5))

    assert order(ledger) == ["new, 5 h", "new, two days", "waits, 1 h", "waits, 3 h"]


def test_a_near_start_goes_before_news(ledger: Ledger) -> None:
    """The last looks before a start are made, however much is new."""
    ledger.track("waits, 14 min", looked_at(waiting(14 / 60)))
    ledger.track("waits, 16 min", looked_at(waiting(16 / 60)))
    ledger.track("new, 5 min", waiting(5 / 60))
    ledger.track("new, two days", waiting(48))

    assert order(ledger) == ["new, 5 min", "waits, 14 min", "new, two days", "waits, 16 min"]


def test_what_waited_for_two_days_goes_before_news(ledger: Ledger) -> None:
    """So newcomers cannot keep anything back for ever."""
    ledger.track("old", looked_at(waiting(100 * 24, since=2 * DAY)))
    ledger.track("new", waiting(1))

    assert order(ledger) == ["old", "new"]


def test_a_notice_makes_an_event_news_until_it_was_looked_at(ledger: Ledger) -> None:
    """A notification or a person made it due: that may help it at once."""
    quiet, told = looked_at(waiting(3)), looked_at(waiting(5))
    ledger.track("quiet", quiet)
    ledger.track("told", told)
    ledger.nudge("told", told.key)
    ledger.promote(10)
    lease = ledger.claim(LONG)
    assert lease is not None
    ledger.release(lease)
    again = ledger.claim(LONG)
    assert again is not None
    stored = again.events[0]
    ledger.commit(again, Change([EventChange(stored, replace(stored.event, next_look=to_ms(NOW)))]))

    assert (lease.sub, again.sub, order(ledger)) == ("told", "told", ["quiet", "told"])


def test_a_notice_that_the_service_fails_is_no_news(ledger: Ledger) -> None:
    """A look cannot help it: others that were never looked at go first, however far away."""
    ledger.track("fails, 1 h", waiting(1))
    ledger.track("unseen, two days", waiting(48))
    fails = pack_notice("conferencing_failing", None, to_ms(NOW))
    ledger.nudge("fails, 1 h", waiting(1).key, fails, "body")
    ledger.track("no profile, 3 h", waiting(3))
    missing = pack_notice("conferencing_failing", "profile_missing", to_ms(NOW))
    ledger.nudge("no profile, 3 h", waiting(3).key, missing, "body")

    assert order(ledger) == ["no profile, 3 h", "unseen, two days", "fails, 1 h"]
