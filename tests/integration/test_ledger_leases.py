"""The life of a tracked event in the ledger: tracked, due, claimed, committed, settled."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from tests.integration.ledgers import (
    AHEAD,
    LONG,
    SHORT,
    an_event,
    claim,
    dump,
    later,
    outcome,
    outcome_count,
    standing,
)
from tests.waiting import wait_until
from worker.ledger.leases import Change, EventChange, Held, Lease, LeaseLost, Mail
from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import OutcomeType
from worker.ledger.packing import pack_notice
from worker.ledger.records import EventKey, Memo


def test_an_event_is_tracked_promoted_claimed_and_committed(ledger: Ledger) -> None:
    """An account goes from waiting to ready to leased and back to waiting, until its next look is due."""
    ledger.track("acc", an_event())
    assert standing(ledger, "acc") == {"waiting"}
    assert ledger.claim(LONG) is None

    promotion = ledger.promote(10)
    assert (promotion.due, promotion.ready["us"], standing(ledger, "acc")) == (1, 1, {"ready"})
    lease = ledger.claim(LONG)
    assert lease is not None
    assert (lease.sub, [s.event for s in lease.events]) == ("acc", [an_event()])
    assert standing(ledger, "acc") == {"leased"}
    after = later(lease.events[0], failures=2)
    refused = ledger.commit(lease, Change([EventChange(lease.events[0], after, outcomes=(outcome(),))]))

    assert refused.changed == frozenset()
    assert [s.event for s in ledger.pending("acc")] == [after]
    assert (standing(ledger, "acc"), outcome_count(ledger)) == ({"waiting"}, 1)
    assert (ledger.promote(10).due, standing(ledger, "acc")) == (0, {"waiting"})


def test_an_account_is_never_claimed_twice(ledger: Ledger) -> None:
    """Sixteen threads competing for thirty accounts get each of them once."""
    for number in range(30):
        ledger.track(f"acc{number}", an_event(hours=number + 1))
    ledger.promote(100)
    barrier = threading.Barrier(16)

    def grab(_: int) -> list[str]:
        barrier.wait(10)
        return [lease.sub for lease in iter(lambda: ledger.claim(LONG), None)]

    with ThreadPoolExecutor(16) as pool:
        claimed = [sub for part in pool.map(grab, range(16)) for sub in part]

    assert sorted(claimed) == sorted(f"acc{number}" for number in range(30))


def test_an_expired_lease_is_given_back_and_its_zombie_writes_nothing(ledger: Ledger) -> None:
    """After expiry the account is ready again, and the late commit is refused as a whole."""
    ledger.track("acc", an_event())
    zombie = claim(ledger, lease=SHORT)
    wait_until(lambda: ledger.promote(10).expired, what="the lease to expire")
    assert standing(ledger, "acc") == {"ready"}
    change = Change(
        [EventChange(zombie.events[0], later(zombie.events[0]), outcomes=(outcome(),))],
        memo=Memo(providers={"pro_1": "zoom"}),
        outcomes=[outcome(kind=OutcomeType.RELINKED)],
        mails=[Mail("m1", b"mail")],
        lost=True,
    )
    before = dump(ledger)

    with pytest.raises(LeaseLost):
        ledger.commit(zombie, change)

    assert dump(ledger) == before


def test_a_zombie_cannot_end_the_lease_of_the_next_holder(ledger: Ledger) -> None:
    """Neither a late release nor a late commit affects a lease that another now holds."""
    ledger.track("acc", an_event())
    zombie = claim(ledger, lease=SHORT)
    wait_until(lambda: isinstance(ledger.claim_account("acc", LONG), Lease), what="the lease to expire")

    ledger.release(zombie)
    with pytest.raises(LeaseLost):
        ledger.commit(zombie, Change())

    assert standing(ledger, "acc") == {"leased"}


def test_what_was_tracked_again_or_untracked_during_a_look_is_left_alone(ledger: Ledger) -> None:
    """The commit names it and publishes none of its outcomes, but stores everything else."""
    for event_id in ("kept", "again", "gone", "settled"):
        ledger.track("acc", an_event(event_id))
    lease = claim(ledger)
    again = replace(an_event("again"), provider_name="go_to", next_look=AHEAD)
    ledger.track("acc", again)
    for event_id in ("gone", "settled"):
        ledger.untrack("acc", EventKey("cal", event_id))

    changes = [
        EventChange(s, later(s), settle=s.event.key.event_id == "settled", outcomes=(outcome(),))
        for s in lease.events
    ]
    refused = ledger.commit(lease, Change(changes))

    assert refused.changed == {EventKey("cal", event_id) for event_id in ("again", "gone", "settled")}
    assert {s.event.key.event_id for s in ledger.pending("acc")} == {"kept", "again"}
    found = ledger.find("acc", again.key)
    again = again.following(an_event("again"))
    assert (found.event if found else None, ledger.newest_settled("acc", 2000)[0], outcome_count(ledger)) == (
        again,
        (),
        1,
    )


@pytest.mark.parametrize(("due", "where"), [(True, "ready"), (False, "waiting")], ids=["due", "not due"])
def test_an_event_tracked_during_a_lease_is_scheduled_by_its_commit(
    ledger: Ledger, due: bool, where: str
) -> None:
    """While the account is held a new event is in no set; once the lease ends, in the right one."""
    ledger.track("acc", an_event("first"))
    lease = claim(ledger)
    ledger.track("acc", an_event("second", due=due))
    assert standing(ledger, "acc") == {"leased"}

    ledger.commit(lease, Change([EventChange(lease.events[0], lease.events[0].event, settle=True)]))

    assert standing(ledger, "acc") == {where}


def test_an_intent_keeps_the_lease(ledger: Ledger) -> None:
    """An intermediate commit writes, and the lease continues."""
    ledger.track("acc", an_event())
    lease = claim(ledger)
    intended = replace(lease.events[0].event, failures=7)

    ledger.commit(lease, Change([EventChange(lease.events[0], intended)]), done=False)

    assert ([s.event for s in ledger.pending("acc")], standing(ledger, "acc")) == ([intended], {"leased"})


def test_a_settled_event_moves_to_the_settled_ones_for_as_long_as_history_is_kept(ledger: Ledger) -> None:
    """It can still be found, is no longer pending, and expires; tracked again it is only pending."""
    ledger.track("acc", an_event())
    lease = claim(ledger)
    after = later(lease.events[0], failures=3)

    ledger.commit(lease, Change([EventChange(lease.events[0], after, settle=True)]))

    found = ledger.find("acc", EventKey("cal", "e1"))
    assert found is not None
    assert found.event.failures == 3
    assert (ledger.find_pending("acc", EventKey("cal", "e1")), ledger.pending("acc")) == (None, ())
    left_ms = ledger.redis.pttl(ledger.keys.settled("acc"))
    assert timedelta(days=6, hours=23) < timedelta(milliseconds=int(left_ms)) <= timedelta(days=7)
    assert standing(ledger, "acc") == set()
    ledger.track("acc", an_event())
    assert (ledger.newest_settled("acc", 2000)[0], len(ledger.pending("acc"))) == ((), 1)


def test_a_settled_record_goes_once_its_time_is_over(ledger: Ledger, redis: Redis) -> None:
    """The next event that settles removes the records whose time is over."""
    keep = timedelta(seconds=1)
    brief = Ledger(redis, ledger.prefix, ledger.vault, keep, 1000)
    begun = ledger.now()
    # The second one prolongs the life of the whole hash, not of the first one's record.
    for event_id, settled_after in (("old", 0.0), ("middle", 0.6), ("young", 1.1)):
        at = begun + keep * settled_after
        wait_until(lambda at=at: ledger.now() >= at, what="time to pass")  # type: ignore[misc]
        ledger.track("acc", an_event(event_id))
        lease = claim(ledger)
        (stored,) = lease.events
        brief.commit(lease, Change([EventChange(stored, stored.event, settle=True)]))

    assert brief.find("acc", EventKey("cal", "old")) is None
    assert brief.find("acc", EventKey("cal", "young")) is not None


def test_a_waiter_wakes_as_soon_as_the_lease_ends(ledger: Ledger) -> None:
    """Without waiting for the lease's full time; one whose patience is over stops waiting."""
    ledger.track("acc", an_event())
    lease = claim(ledger)
    assert isinstance(ledger.claim_account("acc", LONG), Held)
    ledger.wait_until_freed("acc", timedelta(milliseconds=10))
    with ThreadPoolExecutor(1) as pool:
        woken = pool.submit(ledger.wait_until_freed, "acc", timedelta(seconds=20))
        wait_until(lambda: ledger.redis.info("clients")["blocked_clients"], what="the waiter to block")

        begun = time.monotonic()
        ledger.release(lease)
        woken.result(10)

    assert time.monotonic() - begun < 2
    assert isinstance(ledger.claim_account("acc", LONG), Lease)


def test_a_slot_is_taken_once_a_tick(ledger: Ledger) -> None:
    """Two sweeps of one tick count as one; the next tick has its own."""
    every = timedelta(milliseconds=200)
    taken = [ledger.wakeups.take_sweep(every) for _ in range(3)]

    assert taken == [True, False, False]
    wait_until(lambda: ledger.wakeups.take_sweep(every), timeout=5, what="the next tick")


def test_one_commit_settles_any_number_of_events(ledger: Ledger) -> None:
    """With all that was known of them; each service has its name in the day, as long as the day has room."""
    last: dict[str, Any] = {"state": "assigned", "cause": None, "detail": {}}
    tracked = [an_event(f"e{n}", due=False) for n in range(1100)]
    ledger.track_all([("acc", event) for event in tracked])
    for event in tracked[:3]:
        ledger.nudge("acc", event.key, pack_notice("conferencing_assigned", None, AHEAD), event.key.event_id)
    lease = claim(ledger)
    changes = [
        EventChange(
            stored,
            replace(stored.event, last=last, next_look=None, provider_name=f"service{n}"),
            settle=True,
            notice_taken=n != 1,
        )
        for n, stored in enumerate(lease.events)
    ]

    assert ledger.commit(lease, Change(changes)).changed == frozenset()

    redis, keys = ledger.redis, ledger.keys
    assert (ledger.pending("acc"), len(ledger.newest_settled("acc", 2000)[0])) == ((), 1100)
    assert ledger.counters()["events:pending"] == 0
    assert redis.exists(keys.notices("acc"), keys.heard("acc"), keys.calendar("cal")) == 0
    [day] = redis.scan_iter(keys.day("*"))
    named: Any = redis.hgetall(day)
    meetings = {name: int(number) for name, number in named.items() if name.startswith(b"w")}
    assert sum(meetings.values()) == 1100
    assert len(meetings) <= 201
    assert meetings[b"w1n:other"] >= 900


def test_a_settled_event_costs_the_server_four_commands(ledger: Ledger) -> None:
    """It is compared, its id is noted and what is over beside it forgotten, and its outcome is published."""
    assigned: dict[str, Any] = {"state": "assigned", "cause": None, "remedy": "none", "detail": {}}
    costs = []
    for sub, many in (("first", 1), ("few", 20), ("many", 40)):
        ledger.track_all([(sub, an_event(f"{sub}-{n}")) for n in range(many)])
        lease = claim(ledger, sub)
        before = ledger.redis.info("commandstats")
        ledger.commit(
            lease,
            Change(
                [
                    EventChange(s, later(s, last=assigned), settle=True, outcomes=(outcome(sub),))
                    for s in lease.events
                ]
            ),
        )
        after = ledger.redis.info("commandstats")
        known = {name: stats["calls"] for name, stats in before.items()}
        costs.append(sum(stats["calls"] - known.get(name, 0) for name, stats in after.items()))
        assert ledger.redis.hlen(ledger.keys.counted(sub)) == many
        assert len(ledger.outcomes.of_account(sub, 50)) == many

    assert costs[2] - costs[1] == 4 * 20
