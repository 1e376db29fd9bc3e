"""The ledger's gauges and indexes stay correct whichever scripts run, in any order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.integration.ledgers import NOW, an_event, claim, later, outcome, outcome_count, standing
from worker.diagnosis.model import Cause
from worker.intake.acknowledge import acknowledge, withdraw
from worker.ledger.leases import Change, EventChange, Lease
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.lists import names_of
from worker.ledger.outcomes import OutcomeType
from worker.ledger.packing import CAUSES
from worker.ledger.records import EventKey, TrackedEvent, from_ms, to_ms
from worker.ledger.vault import Vault

SUBS = ["a", "a:b"]
CALENDARS = ["x", "y"]
CAUSE_NAMES = [None, Cause.GENERATING.value, Cause.PROFILE_REMOVED.value]
TOLD = "profile_removed:pro_1"

VERBS = (
    *("track", "untrack", "nudge", "forget", "connect", "acknowledge", "withdraw"),
    *("claim", "keep", "intend", "settle", "release", "lose"),
)
STEPS = st.tuples(
    st.sampled_from(VERBS),
    st.sampled_from(SUBS),
    st.sampled_from(CALENDARS),
    st.sampled_from(["1", "2"]),
    st.booleans(),
    st.sampled_from(CAUSE_NAMES),
    st.sampled_from([-1, 24, 48]),
)


def looked_at(event: TrackedEvent, cause: str | None, hours: int) -> TrackedEvent:
    """The event as if its last look had found this cause, starting in this many hours."""
    seen = {"start": (NOW + timedelta(hours=hours)).isoformat()}
    last = {"cause": cause, "state": "pending", "detail": {}} if cause else None
    return replace(event, last=last, seen=seen, notified=(TOLD,) if hours == 48 else ())


def lists(ledger: Ledger) -> set[tuple[str, str, bytes, datetime]]:
    """Every entry of every list: the list's name, the account, the event's field and its start."""
    redis: Any = ledger.redis
    head = ledger.keys.list("")
    found: set[tuple[str, str, bytes, datetime]] = set()
    for key in redis.scan_iter(f"{head}*"):
        for member, start in redis.zrange(key, 0, -1, withscores=True):
            length, _, place = member.partition(b":")
            sub, field = place[: int(length)].decode(), place[int(length) :]
            found.add((key.decode().removeprefix(head), sub, field, from_ms(start)))
    return found


class Model:
    """Applies steps to a ledger, remembering only who is leased."""

    def __init__(self, ledger: Ledger) -> None:
        """Start with an empty ledger."""
        self.ledger = ledger
        self.leases: dict[str, Lease] = {}
        self.moments = count(to_ms(NOW))

    def step(
        self, verb: str, sub: str, calendar_id: str, event_id: str, due: bool, cause: str | None, hours: int
    ) -> None:
        """Do one step; skip what makes no sense at this point."""
        ledger, key = self.ledger, EventKey(calendar_id, event_id)
        lease = self.leases.get(sub)
        match verb:
            case "track":
                event = looked_at(an_event(event_id, calendar_id=calendar_id, due=due), cause, hours)
                ledger.track(sub, replace(event, tracked_at=next(self.moments)))
            case "untrack":
                ledger.untrack(sub, key)
            case "acknowledge":
                acknowledge(ledger, sub, key, "", "PT1H", "op")
            case "withdraw":
                withdraw(ledger, sub, key)
            case "nudge":
                ledger.nudge(sub, key)
            case "forget":
                ledger.forget(sub)
                self.leases.pop(sub, None)
            case "connect":
                ledger.connect(Connecting(sub, Credentials("r"), "us", None, None))
            case "claim" if lease is None:
                self.leases[sub] = claim(ledger, sub)
            case "release" if lease:
                ledger.release(self.leases.pop(sub))
            case "keep" | "intend" | "settle" | "lose" if lease:
                changes = [
                    EventChange(
                        s,
                        looked_at(later(s), cause, hours),
                        settle=verb == "settle",
                        unacknowledged=hours == -1,
                    )
                    for s in lease.events
                    if s.event.key.calendar_id == calendar_id or not due
                ]
                done = verb != "intend"
                ledger.commit(self.leases[sub], Change(changes, lost=verb == "lose"), done=done)
                if done:
                    del self.leases[sub]

    def check(self) -> None:
        """The gauges, the indexes and the three sets match the events themselves."""
        ledger = self.ledger
        events = {sub: ledger.pending(sub) for sub in SUBS}
        causes = Counter(CAUSES.index(s.event.cause) for stored in events.values() for s in stored)
        counters = ledger.counters()
        assert counters.get("events:pending", 0) == sum(map(len, events.values()))
        numbers = range(len(CAUSES))
        assert [counters.get(f"cause:{c}", 0) for c in numbers] == [causes[c] for c in numbers]
        found = lists(ledger)
        assert {entry for entry in found if not entry[0].startswith("incident:")} == {
            (name, sub, s.event.key.field, s.event.starts_at)
            for sub in SUBS
            for s in events[sub]
            for name in names_of(s.event, ledger.acknowledgement(sub, s.event.key))
        }
        # Each event that needs a person is in one incident, of its group.
        groups = {each.incident_id: each.group for each in ledger.incidents.open()}
        assert sorted(
            (groups[name.removeprefix("incident:")], sub, field)
            for name, sub, field, _ in found
            if name.startswith("incident:")
        ) == sorted(
            (s.event.group, sub, s.event.key.field)
            for sub in SUBS
            for s in events[sub]
            if s.event.group and not ledger.acknowledgement(sub, s.event.key)
        )
        for calendar_id in CALENDARS:
            holders = {sub for sub in SUBS for s in events[sub] if s.event.key.calendar_id == calendar_id}
            assert set(ledger.accounts_of(calendar_id)) == holders
        for sub in SUBS:
            starts = [s.event.starts_at for s in events[sub] if s.event.starts_at]
            soonest = min((start.timestamp() * 1000 for start in starts if start > NOW), default=None)
            assert ledger.redis.zscore(ledger.keys.starts, sub) == soonest
            oldest = min((s.event.tracked_at for s in events[sub]), default=None)
            assert ledger.redis.zscore(ledger.keys.oldest, sub) == oldest
            if sub in self.leases:
                assert standing(ledger, sub) == {"leased"}
            elif ledger.account(sub).lost or not events[sub]:
                assert standing(ledger, sub) == set()
            else:
                # An account whose last event was replaced by a later one may get one needless look.
                assert standing(ledger, sub) in ({"waiting"}, {"ready"})


def test_gauges_and_indexes_are_exact_after_any_sequence(redis: Redis, vault: Vault, long: bool) -> None:
    """Whatever was tracked, untracked, claimed, committed, settled, lost or forgotten, in any order."""

    @settings(max_examples=150 if long else 15)
    @given(steps=st.lists(STEPS, min_size=10, max_size=25))
    def holds(steps: list[tuple[object, ...]]) -> None:
        model = Model(Ledger(redis, f"gauges-{uuid4().hex}", vault, timedelta(days=1), 100))
        for step in steps:
            model.step(*step)  # type: ignore[arg-type]
            model.check()

    holds()


def test_outcomes_are_counted_by_type_as_they_are_published(ledger: Ledger) -> None:
    """A type's count is the number of its outcomes in the stream."""
    ledger.track("acc", an_event())
    lease = claim(ledger)
    every = tuple(outcome(kind=kind) for kind in OutcomeType)

    ledger.commit(
        lease, Change([EventChange(s, later(s), outcomes=every) for s in lease.events], outcomes=every)
    )

    counters = ledger.counters()
    assert {kind: counters[f"outcome:{kind.value}"] for kind in OutcomeType} == dict.fromkeys(OutcomeType, 2)
    assert outcome_count(ledger) == 2 * len(OutcomeType)
