"""A fleet's status, read from a real ledger: exact, cheap, and read-only."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest
from kombu import Connection
from redis import Redis

from config.queues import Queues
from config.settings import Settings, load_settings
from tests.integration.ledgers import NOW, an_event, claim, later, outcome
from tests.waiting import wait_until
from worker.cronofy.budget import Budget
from worker.diagnosis.model import Cause
from worker.ledger.figures import announce
from worker.ledger.leases import Change, EventChange, Mail
from worker.ledger.ledger import Ledger
from worker.ledger.outbox import Outbox
from worker.ledger.outcomes import OutcomeType
from worker.ledger.records import EventKey, to_ms
from worker.status.snapshot import read_status


@pytest.fixture
def settings(redis_url: str, prefix: str) -> Settings:
    """Only the ledger's location: neither Cronofy's client nor a vault key."""
    return load_settings(redis_url=redis_url, key_prefix=prefix)


def looked(ledger: Ledger, sub: str, cause: Cause | None, *, settle: OutcomeType | None = None) -> None:
    """A look at the account finds this cause on all of its events, or settles them."""
    lease = claim(ledger, sub)
    last = {"cause": cause.value if cause else None, "state": "pending"}
    outcomes = (outcome(sub, settle),) if settle else ()
    changes = [
        EventChange(stored, later(stored, last=last), settle=bool(settle), outcomes=outcomes)
        for stored in lease.events
    ]
    ledger.commit(lease, Change(changes))


def test_pending_events_are_counted_by_cause_and_settled_ones_by_outcome(
    ledger: Ledger, settings: Settings
) -> None:
    """The causes add up to all pending events, even parked ones; without a look they count as generating."""
    for sub, cause in (("a", Cause.PROFILE_REMOVED), ("b", Cause.GENERATING), ("c", None)):
        ledger.track(sub, an_event("1"))
        ledger.track(sub, an_event("2"))
        if cause:
            looked(ledger, sub, cause)
    for sub, kind in (("d", OutcomeType.ASSIGNED), ("e", OutcomeType.CLOSED), ("f", OutcomeType.CLOSED)):
        ledger.track(sub, an_event())
        looked(ledger, sub, None, settle=kind)
    ledger.track("c", replace(an_event("bad"), next_look=None, parked="letter-1"))

    status = read_status(ledger.redis, settings)

    assert status.as_json["events"] == {"pending": 7, "assigned": 1, "closed": 2}
    found = {name: count for name, count in status.as_json["causes"].items() if count}
    assert found == {"profile_removed": 2, "generating": 5}
    assert sum(status.by_cause.values()) == status.pending
    assert (status.unseen, status.causes[Cause.GENERATING], status.parked) == (3, 2, 1)


def test_accounts_are_due_or_leased(ledger: Ledger, settings: Settings) -> None:
    """Due are those waiting too long, those ready, and those whose lease has expired."""
    for sub in ("waits", "ready", "leased", "expired"):
        ledger.track(sub, an_event())
    ledger.track("later", an_event(due=False))
    ledger.track("parked", replace(an_event(), next_look=None, parked="letter-1"))
    claim(ledger, "leased")
    claim(ledger, "expired", timedelta(milliseconds=1))
    ledger.nudge("ready", an_event().key)

    def counted() -> tuple[int, int]:
        status = read_status(ledger.redis, settings)
        return status.due, status.leased

    wait_until(lambda: counted() == (3, 1), what="the lease's end")


def test_an_empty_ledger_has_a_status(redis: Redis, settings: Settings) -> None:
    """All counts are 0, and everything missing is null."""
    status = read_status(redis, settings).as_json

    assert status["events"] == {"pending": 0, "assigned": 0, "closed": 0}
    assert status["causes"] == {cause.value: 0 for cause in Cause}
    assert status["queues"] == dict.fromkeys(Queues.of(settings.key_prefix), 0)
    assert {status[name] for name in ("due", "leased", "dead_letters", "workers")} == {0}
    absent = ("oldest_pending_seconds", "soonest_start", "last_sweep_at", "paused_since")
    assert {status[name] for name in absent} == {None}


def test_the_next_to_start_and_the_oldest_are_named(ledger: Ledger, settings: Settings) -> None:
    """The soonest first, over all accounts; started or settled ones are left out, however old."""
    for sub, age in (("old", 7200), ("new", 60)):
        for hours in (-1, 2, 50):
            event = an_event(f"{sub}-{hours}", hours=hours + age / 3600)
            ledger.track(sub, replace(event, tracked_at=to_ms(NOW) - 1000 * age))
    ledger.track("settled", replace(an_event(hours=0.1), tracked_at=1))
    looked(ledger, "settled", None, settle=OutcomeType.ASSIGNED)
    looked(ledger, "new", Cause.CREDENTIALS_EXPIRED)

    status = read_status(ledger.redis, settings)

    named = [(next_one.sub, next_one.event_id, next_one.cause) for next_one in status.soonest]
    assert named == [
        ("old", "old--1", None),
        ("new", "new-2", Cause.CREDENTIALS_EXPIRED),
        ("old", "old-2", None),
        ("new", "new-50", Cause.CREDENTIALS_EXPIRED),
        ("old", "old-50", None),
    ]
    assert status.soonest_start == status.soonest[0].start
    assert status.oldest_pending_seconds == pytest.approx((status.at - NOW).total_seconds() + 7200, abs=1)


def test_a_meeting_that_starts_is_followed_by_the_accounts_next_one(
    ledger: Ledger, settings: Settings
) -> None:
    """Before a sweep, and after it, when the index knows too."""
    soon = ledger.now() + timedelta(milliseconds=300) - NOW
    ledger.track("acc", an_event("first", hours=soon / timedelta(hours=1)))
    ledger.track("acc", an_event("second", hours=5))

    def next_one() -> str:
        return read_status(ledger.redis, settings).soonest[0].event_id

    assert next_one() == "first"
    wait_until(lambda: next_one() == "second", what="the first to have started")
    ledger.promote(10)
    assert next_one() == "second"
    assert ledger.redis.zcount(ledger.keys.starts, "-inf", to_ms(ledger.now())) == 0


def test_emails_dead_letters_sweeps_and_a_pause_are_shown(ledger: Ledger, settings: Settings) -> None:
    """Waiting and sent emails, dead letters, the last sweep, and since when it is paused."""
    ledger.track("acc", an_event())
    ledger.commit(claim(ledger), Change(mails=[Mail("one", b"1"), Mail("two", b"2"), Mail("three", b"3")]))
    Outbox(ledger).sent("one")
    Outbox(ledger).refused("two", "dana@example.org", "no such user", [outcome(kind=OutcomeType.ESCALATED)])
    ledger.dead_letters.keep("conferencing.track", "bad", (), {})
    ledger.promote(10)
    ledger.set_paused(True)

    status = read_status(ledger.redis, settings)

    mail = status.as_json["mail"]
    assert (mail["queued"], mail["sent"], mail["refused"], mail["refused_addresses"]) == (1, 1, 1, 1)
    assert [refusal["address"] for refusal in mail["refusals"]] == ["d***@example.org"]
    assert status.dead_letters == 1
    assert status.as_json["paused"] is True
    assert status.paused_since == ledger.paused_since()
    assert status.last_sweep_seconds is not None
    assert status.last_sweep_seconds < 60


def _budget(ledger: Ledger, place: str) -> Budget:
    return Budget(ledger.redis, ledger.prefix, place, per_second=50, per_minute=500, share=0.8)


def test_the_budget_is_of_our_application_and_its_fullest_origin(ledger: Ledger, settings: Settings) -> None:
    """The limits are the fleet's share; another application's calls only count if ours are unknown."""
    calls = {"ours@https://a.example": 3, "ours@https://b.example": 5, "other@https://a.example": 9}
    for place, cost in calls.items():
        _budget(ledger, place).take(cost)
    _budget(ledger, "other@https://a.example").refuse_client()
    _budget(ledger, "ours@https://a.example").pause(timedelta(seconds=30))

    of_all = read_status(ledger.redis, settings).budget
    of_ours = read_status(ledger.redis, settings.model_copy(update={"cronofy_client_id": "ours"})).budget

    assert (of_ours.per_second, of_ours.per_minute) == (40, 400)
    assert of_ours.used == {"https://a.example": 3, "https://b.example": 5}
    assert of_ours.used_last_minute == 5
    assert of_ours.paused_until is not None
    assert timedelta(0) < of_ours.paused_until - ledger.now() <= timedelta(seconds=30)
    assert not of_ours.client_refused
    assert of_all.used == {"https://a.example": 12, "https://b.example": 5}
    assert of_all.client_refused


def test_a_damaged_record_does_not_hide_the_fleet(ledger: Ledger, settings: Settings) -> None:
    """Until a look sets it aside, it is left out of the events that start next."""
    ledger.track_all([("acc", an_event(name, hours=hours)) for name, hours in (("bad", 1), ("good", 2))])
    key, field = ledger.keys.events("acc"), EventKey("cal", "bad").field.decode()
    ledger.redis.hset(key, field, cast("bytes", ledger.redis.hget(key, field))[:-5])

    status = read_status(ledger.redis, settings)

    assert [each.event_id for each in status.soonest] == ["good"]


def test_workers_are_those_seen_lately(ledger: Ledger, settings: Settings) -> None:
    """Each is counted once, with the queues it consumes; those silent for half a minute are left out."""
    announce(ledger.redis, ledger.keys, "one", ["reconciler.mail"])
    announce(ledger.redis, ledger.keys, "one", ["reconciler.mail"])
    announce(ledger.redis, ledger.keys, "two", ["reconciler.looks", "reconciler.urgent"])
    announce(ledger.redis, ledger.keys, "silent", ["reconciler.intake"])
    silent = '{"name": "silent", "queues": ["reconciler.intake"]}'
    assert ledger.redis.zadd(ledger.keys.workers, {silent: to_ms(ledger.now()) - 31_000}) == 0

    status = read_status(ledger.redis, settings)

    assert status.workers == 2
    assert set(status.consumers) == {"reconciler.mail", "reconciler.looks", "reconciler.urgent"}


def test_queues_are_counted_at_the_broker(redis: Redis, settings: Settings, redis_url: str) -> None:
    """Whatever priority a message has, and on other kinds of broker; an unreachable one has no counts."""
    elsewhere = settings.model_copy(update={"broker_url": redis_url.removesuffix("/0") + "/3"})
    in_memory = settings.model_copy(update={"broker_url": "memory://localhost"})
    away = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    queues = Queues.of(settings.key_prefix)
    with (
        Redis.from_url(elsewhere.broker) as broker,
        Connection(in_memory.broker) as connection,
        connection.SimpleQueue(queues.intake) as queue,
    ):
        broker.rpush(queues.intake, "m", "m")
        broker.rpush(f"{queues.intake}\x06\x166", "m")
        queue.put({})
        found = [read_status(redis, each).queues for each in (elsewhere, in_memory, away)]
        broker.flushdb()
        queue.clear()

    nothing = dict.fromkeys(queues, 0)
    assert found == [{**nothing, queues.intake: 3}, {**nothing, queues.intake: 1}, dict.fromkeys(queues)]
