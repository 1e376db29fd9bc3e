"""Many people with events, followed through a fault: how each event must end, and how it did."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from typing import Any, Literal

from sandbox.control.admin import Json
from tests.acceptance.harness import INTAKE, Fleet, Person, zoom
from tests.faults.record import Record
from tests.waiting import wait_until
from worker.ledger.records import EventKey

#: An event whose conference comes on its own, one whose profile was removed and can be replaced, and one
#: whose user has to connect the profile again.
Kind = Literal["well", "moved", "asked"]


#: Once nothing waited for this long, nothing is coming back: above the fleet's visibility timeout.
QUIET_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Result:
    """How the events ended."""

    #: Events that did not end with a conference.
    lost: int
    #: Outcomes, Update Events and distinct emails beyond one each.
    doubled: int
    #: Update Events that were sent twice, by the account whose look sent them.
    rewritten: Counter[str]
    #: Relink emails, and how many of them repeat another's Message-ID.
    mails: int
    repeated_mails: int

    @property
    def redone(self) -> int:
        """Everything done twice."""
        return self.doubled + self.rewritten.total() + self.repeated_mails

    def enter(
        self, record: Record, fault: str, injected: int, events: int, doubled: int | None = None
    ) -> None:
        """Add it to a fault's row in the table."""
        twice = self.doubled if doubled is None else doubled
        record(fault, injected=injected, events=events, lost=self.lost, doubled=twice, mails=self.mails)


@dataclass(slots=True)
class Population:
    """People, each with events of one kind."""

    fleet: Fleet
    people: list[tuple[Kind, Person]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    #: What was sent to be tracked.
    sent: list[Json] = field(default_factory=list)

    @classmethod
    def of(cls, fleet: Fleet, people: int, events: int) -> Population:
        """This many people with this many events each, all connected and no event tracked yet."""
        population = cls(fleet, events=[f"event-{number}" for number in range(events)])
        kinds: Iterator[Kind] = cycle(("well", "moved", "asked"))
        for _, kind in zip(range(people), kinds, strict=False):
            profile = zoom("pro_new" if kind == "moved" else "pro_zoom", connected=kind != "asked")
            removed = ["pro_old"] if kind == "moved" else []
            population.people.append((kind, fleet.person(profile, removed_profiles=removed)))
        return population

    def __len__(self) -> int:
        return len(self.people) * len(self.events)

    def track(self) -> Iterator[Json]:
        """Write and track one event after the other, without waiting for answers."""
        for event_id in self.events:
            for kind, person in self.people:
                profile = "pro_old" if kind == "moved" else "pro_zoom"
                body = person.write(event_id, profile, timedelta(days=2), subscriptions=[])
                event = {"sub": person.sub, "calendar_id": person.calendar_id, "event": body}
                self.sent.append({**event, "provider_name": "zoom"})
                self.fleet.caller.send("track", **self.sent[-1])
                yield body

    def send_again(self) -> int:
        """As a caller would, send events again that are unknown and not queued; returns how many."""
        last_waiting = time.monotonic()

        def all_came_up() -> bool:
            nonlocal last_waiting
            if self.fleet.broker.llen(INTAKE):
                last_waiting = time.monotonic()
            return not self._unknown() or time.monotonic() - last_waiting > QUIET_SECONDS

        wait_until(all_came_up, 120, 0.25, what="the end of intake")
        unknown = self._unknown()
        for event in unknown:
            self.fleet.caller.send("track", **event)
        return len(unknown)

    def relink(self) -> None:
        """Everybody who got the email follows its link."""
        for kind, person in self.people:
            if kind == "asked":
                person.outcome("relink_requested", None, 60)
                self.fleet.control.reconnect_profile(person.sub, "pro_zoom")

    def settle(self, seconds: float) -> Result:
        """Wait until every event has its conference, at most this long, and return the result."""
        expected = {(person.sub, event_id) for _, person in self.people for event_id in self.events}

        def all_assigned() -> bool:
            outcomes = {(o["sub"], o["event_id"]) for o in self.fleet.outcomes() if o["type"] == "assigned"}
            return expected <= outcomes

        with contextlib.suppress(AssertionError):
            wait_until(all_assigned, seconds, 0.5)
            wait_until(self.fleet.drained, 30, 0.25, what="the queues to drain")
        return self.result()

    def result(self) -> Result:
        subs = {person.sub: kind for kind, person in self.people}
        outcomes = Counter(
            (o["type"], o["sub"], o["event_id"]) for o in self.fleet.outcomes() if o["sub"] in subs
        )
        assigned = {(sub, event_id) for kind, sub, event_id in outcomes if kind == "assigned"}
        ours = [w for w in self.fleet.control.writes() if w["sub"] in subs and w["via"] != "sandbox"]
        written = Counter((w["sub"], w["event_id"]) for w in ours)
        rewritten: Counter[str] = Counter()
        for (sub, _), times in written.items():
            rewritten[sub] += times - 1
        addresses = {person.email: kind for kind, person in self.people}
        emails = Counter((m["to"][0], m["message_id"]) for m in self.fleet.control.mail())
        emails = Counter({k: n for k, n in emails.items() if k[0] in addresses})
        receivers = Counter(address for address, _ in emails)
        doubled = _beyond_one(outcomes) + _beyond_one(receivers)
        return Result(
            lost=len(self) - len(assigned),
            doubled=doubled,
            rewritten=+rewritten,
            mails=sum(emails.values()),
            repeated_mails=_beyond_one(emails),
        )

    def leased(self) -> Collection[str]:
        members: Collection[bytes] = self.fleet.redis.zrange("reconciler:leased", 0, -1)  # type: ignore[assignment]
        return {member.decode() for member in members}

    def _unknown(self) -> list[Json]:
        """What was sent but is neither pending nor settled."""
        return [event for event in self.sent if not self._is_known(event)]

    def _is_known(self, event: Json) -> bool:
        name: Any = EventKey(event["calendar_id"], event["event"]["event_id"]).field
        kinds = ("events", "settled")
        return any(self.fleet.redis.hexists(f"reconciler:{kind}:{event['sub']}", name) for kind in kinds)


def _beyond_one(counted: Mapping[Any, int]) -> int:
    return sum(times - 1 for times in counted.values())
