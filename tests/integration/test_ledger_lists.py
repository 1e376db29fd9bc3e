"""Lists of pending events: what is in them, in which order, page by page, at the same cost however many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.ledgers import NOW, an_event, claim, later
from worker.diagnosis.model import Cause
from worker.intake.acknowledge import acknowledge
from worker.ledger.leases import Change, EventChange
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Page, Wanted
from worker.ledger.packing import pack_event
from worker.ledger.paging import MOST_CHECKED, PART, BadCursor
from worker.ledger.records import EventKey, TrackedEvent

REMOVED, EXPIRED = Cause.PROFILE_REMOVED, Cause.CREDENTIALS_EXPIRED


def found_with(event: TrackedEvent, cause: Cause | None, *, told: bool = False) -> TrackedEvent:
    """The event after a look that found this cause, and perhaps told a person."""
    last: dict[str, Any] | None = {"cause": cause.value, "state": "pending", "detail": {}} if cause else None
    return replace(event, last=last, notified=(f"{cause}:",) if told and cause else ())


def put(
    ledger: Ledger,
    sub: str,
    event_id: str,
    cause: Cause | None = REMOVED,
    *,
    hours: float = 24,
    told: bool = False,
    provider: str = "zoom",
) -> None:
    """Track an event and look at it."""
    ledger.track(sub, replace(an_event(event_id, hours=hours), provider_name=provider))
    look(ledger, sub, event_id, cause, told=told)


def look(
    ledger: Ledger, sub: str, event_id: str, cause: Cause | None, *, told: bool = False, **how: Any
) -> None:
    """A look at one event of an account."""
    lease = claim(ledger, sub)
    changes = [
        EventChange(s, found_with(later(s), cause, told=told), **how)
        for s in lease.events
        if s.event.key.event_id == event_id
    ]
    ledger.commit(lease, Change(changes))


def ids(page: Page) -> list[str]:
    """The events of a page."""
    return [listed.event.key.event_id for listed in page.events]


def pages(ledger: Ledger, wanted: Wanted, most: int) -> Iterator[Page]:
    """All pages, one after the other."""
    after = None
    while True:
        page = ledger.lists.page(wanted, most, after)
        yield page
        after = page.after
        if after is None:
            return


def test_a_cause_is_listed_by_start(ledger: Ledger) -> None:
    """Over all accounts, the soonest first; other causes are left out."""
    put(ledger, "b", "later", hours=3)
    put(ledger, "a", "soon", hours=1)
    put(ledger, "a", "between", hours=2)
    put(ledger, "a", "other", EXPIRED, hours=1)

    page = ledger.lists.page(Wanted(cause=REMOVED), 10)

    assert ids(page) == ["soon", "between", "later"]
    assert [listed.sub for listed in page.events] == ["a", "a", "b"]
    assert page.after is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(Wanted(cause=REMOVED, escalated=True), ["told"], id="cause and escalated"),
        pytest.param(Wanted(escalated=True), ["told", "other"], id="escalated"),
        pytest.param(Wanted(provider="zoom"), ["told", "silent"], id="provider, unless it merely generates"),
        pytest.param(Wanted(cause=REMOVED, provider="go"), [], id="nothing has both"),
        pytest.param(Wanted(cause=Cause.GENERATING), ["waits", "unseen"], id="generating, with unseen ones"),
        pytest.param(
            Wanted(cause=Cause.GENERATING, provider="go"), ["unseen"], id="generating, of a provider"
        ),
        pytest.param(Wanted(account="b"), ["unseen", "other"], id="account"),
        pytest.param(Wanted(account="a", escalated=True), ["told"], id="account and escalated"),
        pytest.param(Wanted(account="nobody"), [], id="an account that has none"),
        pytest.param(
            Wanted(starts_before=NOW + timedelta(hours=2)), ["told", "silent"], id="all that start by then"
        ),
        pytest.param(
            Wanted(cause=REMOVED, starts_before=NOW + timedelta(minutes=90)), ["told"], id="cause, by then"
        ),
        pytest.param(Wanted(), ["told", "silent", "waits", "unseen", "other"], id="all"),
    ],
)
def test_conditions_are_combined(ledger: Ledger, wanted: Wanted, expected: list[str]) -> None:
    """An event is listed if all of them hold."""
    put(ledger, "a", "told", hours=1, told=True)
    put(ledger, "a", "silent", hours=1.9)
    put(ledger, "a", "waits", Cause.GENERATING, hours=3)
    put(ledger, "b", "other", EXPIRED, hours=5, told=True, provider="go")
    ledger.track("b", replace(an_event("unseen", hours=4), provider_name="go"))

    assert ids(ledger.lists.page(wanted, 10)) == expected


def test_an_outage_that_was_published_is_not_escalated(ledger: Ledger) -> None:
    """It is news, and asks nobody for help, until a person was told as well."""
    put(ledger, "a", "outage", Cause.PROVIDER_OUTAGE, told=True)
    assert ids(ledger.lists.page(Wanted(escalated=True), 10)) == []

    lease = claim(ledger, "a")
    told = replace(later(lease.events[0]), notified=("provider_outage:", "provider_outage:overdue"))
    ledger.commit(lease, Change([EventChange(lease.events[0], told)]))

    assert ids(ledger.lists.page(Wanted(escalated=True), 10)) == ["outage"]


@pytest.mark.parametrize("wanted", [Wanted(cause=REMOVED), Wanted(account="a"), Wanted()], ids=repr)
def test_pages_show_each_event_once(ledger: Ledger, wanted: Wanted) -> None:
    """Also among events that start at the same time, and if the one that a page ended with is gone."""
    for n in range(7):
        put(ledger, "a", f"e{n}", hours=1 if n < 5 else 2)
    seen = []
    for page in pages(ledger, wanted, 2):
        assert len(page.events) <= 2
        seen += ids(page)
        if page.after:
            ledger.untrack("a", EventKey("cal", seen[-1]))

    assert seen == [f"e{n}" for n in range(7)]


def test_pages_of_all_events_go_through_accounts(ledger: Ledger) -> None:
    """A page may end within an account; the next one goes on there, then with the next account."""
    for sub, hours in (("a", 1), ("b", 2)):
        for n in range(3):
            put(ledger, sub, f"{sub}{n}", Cause.GENERATING, hours=hours + n)

    found = [ids(page) for page in pages(ledger, Wanted(cause=Cause.GENERATING), 2)]

    assert found == [["a0", "a1"], ["a2", "b0"], ["b1", "b2"]]


@pytest.mark.parametrize("cursor", ["nonsense", "x", "kw", "é", "kso="])
def test_a_cursor_that_no_page_ended_with_is_refused(ledger: Ledger, cursor: str) -> None:
    """It may be mistyped."""
    with pytest.raises(BadCursor):
        ledger.lists.page(Wanted(cause=REMOVED), 10, cursor)


def test_an_event_leaves_its_lists_when_it_is_over(ledger: Ledger) -> None:
    """Settled, untracked, tracked again, forgotten; and it moves when its cause or start does."""
    for event_id in ("settled", "untracked", "again", "moved"):
        put(ledger, "a", event_id)
    put(ledger, "b", "forgotten")
    look(ledger, "a", "settled", REMOVED, settle=True)
    ledger.untrack("a", EventKey("cal", "untracked"))
    ledger.track("a", an_event("again"))
    look(ledger, "a", "moved", EXPIRED)
    ledger.forget("b")

    assert ids(ledger.lists.page(Wanted(cause=REMOVED), 10)) == []
    assert ids(ledger.lists.page(Wanted(cause=EXPIRED), 10)) == ["moved"]
    assert ledger.lists.size("cause:2") == 1
    assert not ledger.redis.exists(ledger.keys.list("cause:3"), ledger.keys.listed("b"))


def test_what_an_older_version_removed_is_not_listed(ledger: Ledger) -> None:
    """It keeps no lists; a reader drops what is gone, and leaves out what changed."""
    put(ledger, "a", "gone", hours=1)
    put(ledger, "a", "changed", hours=2)
    put(ledger, "a", "stays", hours=3)
    events = ledger.keys.events("a")
    ledger.redis.hdel(events, EventKey("cal", "gone").field)
    put(ledger, "other", "changed", EXPIRED, hours=2)
    changed = ledger.redis.hget(ledger.keys.events("other"), EventKey("cal", "changed").field)
    assert changed
    ledger.redis.hset(events, EventKey("cal", "changed").field, changed)

    assert ids(ledger.lists.page(Wanted(cause=REMOVED), 10)) == ["stays"]
    assert ledger.lists.size("cause:3") == 2

    look(ledger, "a", "changed", EXPIRED)

    assert ledger.lists.size("cause:3") == 1


def test_what_an_older_version_removed_is_not_acknowledged_once_it_is_tracked_again(ledger: Ledger) -> None:
    """It leaves the acknowledgement behind."""
    put(ledger, "a", "e1", told=True)
    key = EventKey("cal", "e1")
    assert acknowledge(ledger, "a", key, "", None, "dana")
    ledger.redis.hdel(ledger.keys.events("a"), key.field)

    put(ledger, "a", "e1", told=True)

    assert ids(ledger.lists.page(Wanted(escalated=True), 10)) == ["e1"]
    assert ledger.lists.size("acknowledged") == 0


def test_a_page_costs_the_same_however_much_is_listed(ledger: Ledger) -> None:
    """The server carries out as many commands among two thousand as among two hundred."""
    for n in range(5):
        put(ledger, "a", f"e{n}", hours=1)
    costs = []
    for many in (200, 2000):
        ledger.redis.zadd(ledger.keys.list("cause:3"), {b"5:other%d" % n: 9e14 + n for n in range(many)})
        costs.append(commands_of(ledger, Wanted(cause=REMOVED)))

    assert costs[0] == costs[1]


def commands_of(ledger: Ledger, wanted: Wanted) -> int:
    """How many commands the server carries out for a page."""
    before = ledger.redis.info("commandstats")
    assert len(ledger.lists.page(wanted, 5).events) == 5
    after = ledger.redis.info("commandstats")
    return sum(stats["calls"] - before.get(name, {"calls": 0})["calls"] for name, stats in after.items())


def test_a_page_ends_after_checking_many_that_do_not_fit(ledger: Ledger) -> None:
    """It says where to go on: no page takes for ever."""
    put(ledger, "a", "far", hours=1000, told=True)
    name = ledger.keys.list("cause:3")
    ledger.redis.zadd(name, {b"5:other%d" % n: n for n in range(MOST_CHECKED + 10)})
    ledger.redis.zadd(ledger.keys.list("escalated"), {b"5:other%d" % n: n for n in range(MOST_CHECKED + 10)})

    found = list(pages(ledger, Wanted(cause=REMOVED, escalated=True), 5))

    assert [ids(page) for page in found] == [[], ["far"]]


def test_an_account_with_very_many_events_is_read_in_parts(ledger: Ledger) -> None:
    """A page reads one part of them, in order; all pages together show each event once."""
    many = 3 * PART
    events = [an_event(f"e{n}", hours=1 + (n * 7919) % many) for n in range(many)]
    values: dict[Any, Any] = {event.key.field: pack_event(event) for event in events}
    ledger.redis.hset(ledger.keys.events("a"), mapping=values)
    ledger.redis.zadd(ledger.keys.starts, {"a": 1.0})

    for wanted in (Wanted(account="a"), Wanted()):
        found = list(pages(ledger, wanted, 1000))
        for page in found:
            starts = [listed.event.starts_at for listed in page.events]
            assert starts == sorted(starts, key=str)
        assert sorted(each for page in found for each in ids(page)) == sorted(e.key.event_id for e in events)
        assert len(found) > many / 1000


def test_a_page_reads_no_more_of_an_account_than_a_part_of_it(ledger: Ledger) -> None:
    """However few of its events fit: the page then says where to go on."""
    many = 4 * PART
    events = (an_event(f"e{n}", hours=1 + n) for n in range(many))
    values: dict[Any, Any] = {event.key.field: pack_event(event) for event in events}
    ledger.redis.hset(ledger.keys.events("a"), mapping=values)
    soon = Wanted(account="a", starts_before=NOW + timedelta(hours=5))
    sent = ledger.redis.info()["total_net_output_bytes"]

    page = ledger.lists.page(soon, 50)

    read = ledger.redis.info()["total_net_output_bytes"] - sent
    assert page.after is not None
    assert read < sum(map(len, values.values())) * 0.7
    assert sorted(each for page in pages(ledger, soon, 50) for each in ids(page)) == ["e0", "e1", "e2", "e3"]
