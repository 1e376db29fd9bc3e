"""Nudges and notices: a notice makes its event due and is there for its look."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.integration.ledgers import LONG, NOW, an_event, claim, later, standing
from tests.waiting import wait_until
from worker.ledger.leases import WAKE_WINDOW, Change, EventChange
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.packing import pack_notice
from worker.ledger.records import EventKey, to_ms


def test_a_nudge_makes_an_event_due_now(ledger: Ledger) -> None:
    """The account is ready at once, without a sweep; an unknown event does not make it so."""
    ledger.track("acc", an_event(due=False))

    assert ledger.nudge("acc", EventKey("cal", "e1"))
    assert not ledger.nudge("acc", EventKey("cal", "unknown"))
    assert not ledger.take_notification("stranger")

    assert standing(ledger, "acc") == {"ready"}


def test_what_a_notification_made_due_is_news_until_a_look_not_a_check_of_the_channel(ledger: Ledger) -> None:
    """A check of the channel looks at no event, and takes nothing back that came meanwhile."""
    ledger.connect(Connecting("acc", Credentials("refresh"), "us", None, None))
    ledger.track("acc", an_event(due=False))
    ledger.check_channel("acc")
    lease = claim(ledger)
    ledger.nudge("acc", EventKey("cal", "e1"))

    ledger.commit(lease, Change(check_again=0))

    assert ledger.redis.hexists(ledger.keys.account("acc"), "news")
    assert ledger.account("acc").channel_due is None
    ledger.commit(claim(ledger), Change())
    assert not ledger.redis.hexists(ledger.keys.account("acc"), "news")


def notice(subtype: str) -> bytes:
    """A notice."""
    return pack_notice("conferencing_failing", subtype, to_ms(NOW))


def test_a_notice_is_kept_for_the_look_that_takes_it_up(ledger: Ledger) -> None:
    """It makes the event due and comes with each claim, until a look's commit confirms it."""
    ledger.track("acc", an_event(due=False))
    field = EventKey("cal", "e1").field

    assert ledger.nudge("acc", EventKey("cal", "e1"), notice("one"))
    lease = ledger.claim(LONG)
    assert lease is not None
    assert lease.notices == {field: notice("one")}
    ledger.commit(lease, Change([EventChange(s, later(s)) for s in lease.events]))
    lease = claim(ledger)
    assert lease.notices == {field: notice("one")}
    ledger.commit(lease, Change([EventChange(s, later(s), notice_taken=True) for s in lease.events]))

    assert claim(ledger).notices == {}


def test_a_notice_that_came_during_a_look_is_kept_for_the_next(ledger: Ledger) -> None:
    """The look completes normally, and the event is due again at once."""
    ledger.track("acc", an_event())
    lease = claim(ledger)
    ledger.nudge("acc", EventKey("cal", "e1"), notice("two"))

    after = [EventChange(s, later(s, failures=4), notice_taken=True) for s in lease.events]
    refused = ledger.commit(lease, Change(after))

    again = ledger.claim(LONG)
    assert again is not None
    assert (refused.changed, again.events[0].event.failures) == (frozenset(), 4)
    assert again.notices == {EventKey("cal", "e1").field: notice("two")}


@pytest.mark.parametrize("how", ["track", "untrack"])
def test_a_notice_goes_with_its_record(ledger: Ledger, how: str) -> None:
    """A notice about an event's former record says nothing about a new one."""
    ledger.track("acc", an_event())
    ledger.nudge("acc", EventKey("cal", "e1"), notice("one"))

    if how == "untrack":
        ledger.untrack("acc", EventKey("cal", "e1"))
    ledger.track("acc", an_event())

    assert claim(ledger).notices == {}


def test_a_burst_of_notifications_wakes_two_looks(ledger: Ledger) -> None:
    """One at once and one a moment later; other accounts have their own."""
    waits = [ledger.wakeups.after_notification("acc") for _ in range(100)]

    assert waits == [timedelta(0), WAKE_WINDOW, *[None] * 98]
    assert ledger.wakeups.after_notification("another") == timedelta(0)
    wait_until(
        lambda: ledger.wakeups.after_notification("acc") == timedelta(0),
        timeout=5,
        what="the burst window to end",
    )
