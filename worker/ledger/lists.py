"""Lists of pending events that have something in common: by cause, by conferencing service, or escalated.

Each is a sorted set, by start, kept by the scripts that write events, so a page costs the same however much
is tracked. An event that merely generates is in none: it costs nothing, and is found by its account.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

import msgpack
from redis import Redis

from worker.diagnosis.model import Cause
from worker.diagnosis.schedule import HELD as WAITED_FOR_TOGETHER
from worker.ledger.keys import Keys, Scripts
from worker.ledger.packing import CAUSES, readable_event, times_in, unpack_acknowledgement
from worker.ledger.paging import (
    IN_SET,
    MOST_CHECKED,
    STEP,
    Position,
    decoded,
    encoded,
    entries,
    part_of_hash,
    rank_after,
)
from worker.ledger.records import LAPSED, Acknowledgement, EventKey, TrackedEvent, from_ms, split

ESCALATED, ACKNOWLEDGED = "escalated", "acknowledged"
#: Before the name of a group: stands for the incident of that group, which the scripts know.
GROUP = "group:"
#: Before the id of an incident.
INCIDENT = "incident:"
#: Before what the events of a list wait for together; the scripts add the data centre.
HELD = "held:"
#: A position among an account's events: the part of its hash, a start and a field.
_IN_ACCOUNT: tuple[type, ...] = (int, float, bytes)
#: The start and the field before all others of a part.
_FIRST = (-9e15, b"")


def lists_of(event: TrackedEvent, held: str | None = None) -> tuple[str, ...]:
    """The names of the lists that a pending event is in, if nobody answers for it.

    In place of its incident, the group of that. `held` is what it waits for together with others, as
    CAUSE:PROVIDER: that is an incident even if no person has to help with this event.
    """
    waits = event.cause in (None, Cause.GENERATING)
    if waits and not event.escalated:
        return ()
    group = event.group or (held and held.replace(Cause.CREDENTIALS_EXPIRED, LAPSED))
    return (
        *(() if waits else (_cause_list(event.cause),)),
        *((ESCALATED,) if event.escalated else ()),
        *((f"{GROUP}{group}",) if group else ()),
        *((f"{HELD}{held}",) if held else ()),
        *((_provider_list(event.provider),) if event.provider else ()),
    )


def names_of(event: TrackedEvent, given: Acknowledgement | None) -> frozenset[str]:
    """The lists that a pending event is in, but for its incident; once acknowledged, not `escalated`."""
    names = frozenset(name for name in lists_of(event) if not name.startswith(GROUP))
    return names - {ESCALATED} | {ACKNOWLEDGED} if given else names


def _cause_list(cause: Cause | None) -> str:
    return f"cause:{CAUSES.index(cause)}"


def incident_list(incident_id: str) -> str:
    """The name of the list of an incident's events."""
    return f"{INCIDENT}{incident_id}"


def _provider_list(provider: str) -> str:
    return f"provider:{provider}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pending events to list: those for which all of this is true."""

    #: With `Cause.GENERATING` also those that no look has reached yet.
    cause: Cause | None = None
    #: A person was told, and has to help; not those that are acknowledged.
    escalated: bool = False
    acknowledged: bool = False
    #: The conferencing service. Unless a cause is wanted, too, not those that merely generate.
    provider: str | None = None
    account: str | None = None
    starts_before: datetime | None = None
    incident: str | None = None
    #: Words that its title has, whatever their case.
    title: str | None = None
    calendar_id: str | None = None

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists that each of them is in."""
        if self.incident is not None:
            # Its record does not say so, which makes this the only list that does.
            return (incident_list(self.incident),)
        told = (*([ESCALATED] * self.escalated), *([ACKNOWLEDGED] * self.acknowledged))
        if self.cause is Cause.GENERATING:
            return told
        return (
            *((_cause_list(self.cause),) if self.cause else ()),
            *told,
            *((_provider_list(self.provider),) if self.provider else ()),
        )

    @property
    def until_ms(self) -> float:
        """Each of them starts before this."""
        return self.starts_before.timestamp() * 1000 if self.starts_before else math.inf

    @property
    def head(self) -> bytes:
        """How the field of each of them begins."""
        return EventKey(self.calendar_id, "").field if self.calendar_id is not None else b""

    def fits(self, listed: Listed) -> bool:
        """Whether a pending event is one of them."""
        event, given = listed.event, listed.acknowledged
        if (
            (self.account not in (None, listed.sub))
            or (self.calendar_id not in (None, event.key.calendar_id))
            or (self.starts_before and not (event.starts_at and event.starts_at < self.starts_before))
            or (self.title and self.title.casefold() not in event.summary.casefold())
        ):
            return False
        # Those that merely generate are in no list.
        if self.cause is Cause.GENERATING and (
            event.cause not in (None, self.cause) or (self.provider and event.provider != self.provider)
        ):
            return False
        names = names_of(event, given)
        if self.incident is None:
            return names.issuperset(self.lists)
        # Only the list of the incident says that it is held.
        if given is not None or not (event.cause in WAITED_FOR_TOGETHER or event.group is not None):
            return False
        return names.issuperset(replace(self, incident=None).lists)


@dataclass(frozen=True, slots=True)
class Listed:
    sub: str
    event: TrackedEvent
    acknowledged: Acknowledgement | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """The event as in the contract (§6)."""
        event, given = self.event, self.acknowledged
        return {
            "sub": self.sub,
            "calendar_id": event.key.calendar_id,
            "event_id": event.key.event_id,
            "start": event.starts_at.isoformat() if event.starts_at else None,
            "cause": (event.cause or Cause.GENERATING).value,
            "provider_name": event.provider,
            "escalated": event.escalated,
            "acknowledged": {
                "by": given.by,
                "note": given.note,
                "at": from_ms(given.at).isoformat(),
                "until": from_ms(given.until).isoformat() if given.until is not None else None,
            }
            if given
            else None,
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the events that were wanted, the soonest start first."""

    events: tuple[Listed, ...]
    #: The cursor of the next page; None if this is the last one.
    after: str | None
    #: How many events were looked at for it.
    checked: int = 0


#: Events in their order, each with its position; None in place of one that is not there, or cannot be read.
Walk = Iterator[tuple[Position, Listed | None]]


@dataclass(frozen=True, slots=True)
class Lists:
    redis: Redis
    keys: Keys
    scripts: Scripts

    def size(self, name: str) -> int:
        return self.redis.zcard(self.keys.list(name))

    def places(self, name: str, most: int) -> list[tuple[str, float]]:
        """The account and the start (ms) of up to `most` of a list's events, the soonest first."""
        found = self.redis.zrange(self.keys.list(name), 0, most - 1, withscores=True)
        return [
            (split(member)[0].decode(), score) for member, score in cast("list[tuple[bytes, float]]", found)
        ]

    def incidents_of(self, sub: str) -> tuple[dict[str, int], bool]:
        """The incidents that an account's pending events are in, each with how many of them.

        And whether there are more events than were read for it (`PART`).
        """
        more, listed = part_of_hash(self.redis, self.keys.listed(sub))
        # Most events of an account are in the same lists.
        found: Counter[str] = Counter()
        for packed, events in Counter(listed.values()).items():
            for name in msgpack.unpackb(packed):
                if name.startswith(INCIDENT):
                    found[name.removeprefix(INCIDENT)] += events
        return found, more != 0

    def page(self, wanted: Wanted, most: int, after: str | None = None) -> Page:
        """A page of up to `most` of the wanted events, from the cursor `after` on. Raises BadCursor.

        With several conditions, the smallest list is read and the others are checked. An account with very
        many events is read in parts (`PART`): a page is within one of them, and only there in order.
        """
        found: list[Listed] = []
        last: Position | None = None
        checked = 0
        for position, listed in self._walk(wanted, after):
            if position[-2:] == _FIRST:
                return Page(tuple(found), encoded(position), checked)
            if len(found) == most or checked == MOST_CHECKED:
                return Page(tuple(found), encoded(last) if last else None, checked)
            if listed is not None and wanted.fits(listed):
                found.append(listed)
            last, checked = position, checked + 1
        return Page(tuple(found), None, checked)

    def _walk(self, wanted: Wanted, after: str | None) -> Walk:
        if wanted.account is not None and wanted.incident is None:
            return self._of_account(wanted.account, wanted, decoded(after, _IN_ACCOUNT))
        if wanted.lists:
            return self._of_list(min(wanted.lists, key=self.size), wanted, decoded(after))
        return self._of_all(wanted, decoded(after, (*IN_SET, *_IN_ACCOUNT)))

    def _of_account(self, sub: str, wanted: Wanted, start: Position | None) -> Walk:
        """The account's own pending events in one part of its hash, and then where the next one begins."""
        part, *former = start or (0, *_FIRST)
        with self.redis.pipeline(transaction=False) as pipeline:
            part_of_hash(pipeline, self.keys.events(sub), part)
            pipeline.hlen(self.keys.acknowledged(sub))
            (rest, values), acknowledged = pipeline.execute()
        head, after, until = wanted.head, tuple(former), wanted.until_ms
        starts = ((times_in(value)[1], field) for field, value in values.items() if field.startswith(head))
        # There may be many, of which a page shows few: only these are unpacked.
        places = sorted(each for each in starts if after < each and each[0] < until)
        for first in range(0, len(places), STEP):
            some = places[first : first + STEP]
            fields = [field for _, field in some]
            packed = self.redis.hmget(self.keys.acknowledged(sub), fields) if acknowledged else [None] * STEP
            for place, given in zip(some, cast("list[bytes | None]", packed), strict=False):
                yield (part, *place), _listed(sub, place[1], values[place[1]], given)
        if rest:
            yield (rest, *_FIRST), None

    def _of_list(self, name: str, wanted: Wanted, start: Position | None) -> Walk:
        """A list's events."""
        key = self.keys.list(name)
        for some in entries(self.redis, key, rank_after(self.redis, key, start)):
            places = [(sub.decode(), field) for sub, field in (split(member) for member, _ in some)]
            with self.redis.pipeline(transaction=False) as pipeline:
                for sub, field in places:
                    pipeline.hget(self.keys.events(sub), field)
                    pipeline.hget(self.keys.acknowledged(sub), field)
                answers = pipeline.execute()
            values, acknowledged = answers[::2], answers[1::2]
            gone = [place for place, value in zip(places, values, strict=True) if value is None]
            if gone:
                self.scripts.run("unlist", *(part for place in gone for part in place))
            for (sub, field), (member, score), value, packed in zip(
                places, some, values, acknowledged, strict=True
            ):
                if score >= wanted.until_ms:
                    return
                yield (score, member), _listed(sub, field, value, packed)

    def _of_all(self, wanted: Wanted, start: Position | None) -> Walk:
        """All events, account by account: these by their soonest start to come."""
        key = self.keys.starts
        rank = 0
        if start is not None:
            # The rest of the account in which the last page ended, then those behind it.
            rank = rank_after(self.redis, key, start)
            yield from self._in_account(cast("bytes", start[1]).decode(), start[0], wanted, start[2:])
        for some in entries(self.redis, key, rank):
            for member, score in some:
                if score >= wanted.until_ms:
                    return
                yield from self._in_account(member.decode(), score, wanted, None)

    def _in_account(self, sub: str, score: float, wanted: Wanted, start: Position | None) -> Walk:
        for position, listed in self._of_account(sub, wanted, start):
            yield (score, sub.encode(), *position), listed


def _listed(sub: str, field: bytes, value: bytes | None, given: bytes | None) -> Listed | None:
    """The event with this value, if it is one that can be read, and who answers for it."""
    stored = readable_event(field, value)
    return Listed(sub, stored.event, unpack_acknowledgement(given)) if stored else None
