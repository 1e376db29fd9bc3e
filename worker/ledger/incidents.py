"""Incidents: what has one reason, and is told once.

An event that a person is to be told of joins the incident of its group, which the scripts keep
(`join_incident` in ``common.lua``). Its events are the list ``incident:ID``; when that is empty, it is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from redis import Redis

from worker.diagnosis.model import Cause
from worker.ledger.keys import Keys
from worker.ledger.records import DAMAGED, FLEET, LAPSED, TOKEN_OWED, from_ms, to_ms

#: The field that says that its link was used: [when, by whom] as JSON.
LINK_USED = "link"
AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class Said:
    """One line of an incident's history that a person made."""

    at: datetime
    by: str
    what: str


@dataclass(frozen=True, slots=True)
class Incident:
    incident_id: str
    #: See `TrackedEvent.group`.
    group: str
    opened_at: datetime
    #: How many events ever joined it, and how many left it because somebody acknowledged them.
    total: int
    acknowledged: int = 0
    #: It holds something that a person was not told of before.
    news: bool = False
    #: When it became empty, if it is.
    emptied_at: datetime | None = None
    told_at: datetime | None = None
    mailed: bool = False
    closed_at: datetime | None = None
    #: What people did about it, oldest first.
    said: tuple[Said, ...] = ()
    #: When the link of its email was used, and by whom.
    link_used: tuple[datetime, str] | None = None

    @property
    def kind(self) -> str:
        """The cause, or what keeps us from telling (`worker.ledger.records`)."""
        return self.group.partition("@")[0].partition(":")[0]

    @property
    def cause(self) -> Cause | None:
        """The cause of its events, if they have one in common."""
        if self.kind == TOKEN_OWED:
            return Cause.ACCOUNT_UNAUTHORIZED
        if self.kind == LAPSED:
            return Cause.CREDENTIALS_EXPIRED
        return Cause(self.kind) if self.kind in set(Cause) else None

    @property
    def provider(self) -> str | None:
        return self.group.partition(":")[2].partition("@")[0] or None

    @property
    def data_center(self) -> str | None:
        return self.group.partition("@")[2] or None

    @property
    def is_of_fleet(self) -> bool:
        """It keeps the whole fleet from its work, and has no events."""
        return self.kind in FLEET

    @property
    def is_damaged(self) -> bool:
        """It is about records that are gone from the ledger, so it has no events."""
        return self.kind == DAMAGED


@dataclass(frozen=True, slots=True)
class Incidents:
    redis: Redis
    keys: Keys

    def due(self, now: datetime) -> list[str]:
        """The ids of those for which it is time to see whether something is to be told."""
        found = self.redis.zrangebyscore(self.keys.incidents, "-inf", to_ms(now), start=0, num=AT_A_TIME)
        return [each.decode() for each in cast("list[bytes]", found)]

    def count(self) -> int:
        """How many are not closed."""
        return self.redis.zcard(self.keys.incidents)

    def open(self) -> list[Incident]:
        """Those that are not closed, the oldest first."""
        ids = cast("list[bytes]", self.redis.zrange(self.keys.incidents, 0, -1))
        found = [self.find(each.decode()) for each in ids]
        return sorted((each for each in found if each), key=lambda each: (each.opened_at, each.incident_id))

    def find(self, incident_id: str) -> Incident | None:
        """An incident that is open, or was within `RECONCILER_HISTORY_KEEP`."""
        stored = cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.incident(incident_id)))
        if b"group" not in stored or b"opened" not in stored:
            return None

        def moment(name: bytes) -> datetime | None:
            return from_ms(float(stored[name])) if name in stored else None

        return Incident(
            incident_id,
            stored[b"group"].decode(),
            from_ms(float(stored[b"opened"])),
            int(stored.get(b"total", 0)),
            int(stored.get(b"acknowledged", 0)),
            b"news" in stored,
            moment(b"emptied"),
            moment(b"told"),
            b"mailed" in stored,
            moment(b"closed"),
            tuple(sorted(_said(stored), key=lambda each: each.at)),
            _used(stored.get(LINK_USED.encode())),
        )


def _said(stored: Mapping[bytes, bytes]) -> Iterator[Said]:
    for name, value in stored.items():
        kind, _, rest = name.decode().partition(":")
        if kind == "note":
            yield Said(from_ms(float(rest.partition(":")[0])), **json.loads(value))


def _used(value: bytes | None) -> tuple[datetime, str] | None:
    if value is None:
        return None
    at, by = json.loads(value)
    return from_ms(at), by
