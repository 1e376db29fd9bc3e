"""Outcomes, which say what changed, as contract JSON (§3), and the stream of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast
from uuid import uuid4

from redis import Redis

from worker.diagnosis.model import Cause
from worker.ledger.keys import Keys
from worker.ledger.paging import newest_of_stream, of_each, whole_stream
from worker.ledger.records import to_ms

#: How many outcomes are read at a time to find some among them.
READ_AT_A_TIME = 1000
#: After checking this many outcomes, a page ends, however few of them fit.
MOST_CHECKED = 2000

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class OutcomeType(StrEnum):
    """What happened; the contract (§3) says when each is published."""

    DELAYED = "delayed"
    ASSIGNED = "assigned"
    REASSIGNED = "reassigned"
    FALLBACK = "fallback"
    RELINK_REQUESTED = "relink_requested"
    MAIL_OWED = "mail_owed"
    MAIL_REFUSED = "mail_refused"
    RELINKED = "relinked"
    CONNECT_REQUESTED = "connect_requested"
    CONNECTED = "connected"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"
    REOPENED = "reopened"
    ACCOUNT_LOST = "account_lost"
    ACCOUNT_CONNECTED = "account_connected"
    TOKEN_NEEDED = "token_needed"  # noqa: S105 - not a secret
    INCIDENT_OPENED = "incident_opened"
    INCIDENT_CLOSED = "incident_closed"
    ERASURE_REQUESTED = "erasure_requested"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One entry of the outcomes stream; ids are None if it is about more than one event."""

    type: OutcomeType
    #: None if it is about several accounts.
    sub: str | None
    at: datetime
    calendar_id: str | None = None
    event_id: str | None = None
    cause: Cause | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Contract JSON, with a new id."""
        return _to_json(
            {
                "id": str(uuid4()),
                "at": self.at.isoformat(timespec="milliseconds"),
                "type": self.type.value,
                "sub": self.sub,
                "calendar_id": self.calendar_id,
                "event_id": self.event_id,
                "cause": self.cause.value if self.cause else None,
                "detail": dict(self.detail),
            }
        )


def typed(outcomes: Iterable[Outcome]) -> list[tuple[str, str]]:
    """Each outcome's type and JSON, as the scripts that publish them take them."""
    return [(outcome.type.value, outcome.to_json()) for outcome in outcomes]


def erasure_requested(sub: str, at: datetime, *, forgotten: bool) -> Outcome:
    """A user wants their data erased at Cronofy; `forgotten` says whether we did so at once."""
    return Outcome(OutcomeType.ERASURE_REQUESTED, sub, at, detail={"forgotten": forgotten})


@dataclass(frozen=True, slots=True)
class OutcomeStream:
    """A ledger's outcomes, and how far they were delivered to `RECONCILER_OUTCOME_TASK`."""

    redis: Redis
    keys: Keys

    def newest(self, most: int | None = None) -> list[dict[str, Any]]:
        """The newest outcomes (or all) as contract JSON, newest first."""
        newest = self.redis.xrevrange(self.keys.outcomes, count=most)
        return [json.loads(outcome) for _, outcome in _read(newest)]

    def page(
        self, most: int, after: str | None, named: Sequence[str], fits: Callable[[Mapping[str, Any]], bool]
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of up to `most` that fit, the newest first, behind the entry `after`. Raises BadCursor.

        Only those that have all of `named` in their text are read as JSON.
        """
        quoted = [_to_json(each) for each in named]

        def read(_: bytes, fields: Mapping[bytes, bytes]) -> dict[str, Any] | None:
            text = fields[b"outcome"].decode()
            if not all(each in text for each in quoted):
                return None
            return cast("dict[str, Any]", json.loads(text))

        key = self.keys.outcomes
        return newest_of_stream(self.redis, key, most, after, read, fits, checked=MOST_CHECKED)

    def of_account(self, sub: str, most: int) -> list[dict[str, Any]]:
        """Up to `most` of the newest outcomes about an account, newest first."""
        entry_ids = cast("list[bytes]", self.redis.lrange(self.keys.outcomes_of(sub), 0, most - 1))
        found = self.find(entry_ids)
        return [json.loads(found[each]) for each in entry_ids if each in found]

    def has_undelivered(self) -> bool:
        return next(self.undelivered(1), None) is not None

    def undelivered(self, most: int) -> Iterator[tuple[bytes, str]]:
        """Up to `most` undelivered outcomes, oldest first: each entry's id and the outcome's JSON."""
        return self.after(cast("bytes | None", self.redis.get(self.keys.outcomes_sent)), most)

    def after(self, entry_id: bytes | None, most: int) -> Iterator[tuple[bytes, str]]:
        """Up to `most` outcomes after this entry, or from the oldest one on."""
        start = f"({entry_id.decode()}" if entry_id else "-"
        return _read(self.redis.xrange(self.keys.outcomes, min=start, count=most))

    def find(self, entry_ids: Sequence[bytes]) -> dict[bytes, str]:
        """Those of these entries that the stream still has."""
        pages = of_each(self.redis, entry_ids, lambda pipe, each: pipe.xrange(self.keys.outcomes, each, each))
        return {found: text for page in pages for found, text in _read(page)}

    def between(self, since: datetime | None, until: datetime | None) -> Iterator[tuple[bytes, str]]:
        """All outcomes from `since` to `until`, oldest first, a page in memory at a time."""
        start, end = (str(to_ms(since)) if since else "-"), (str(to_ms(until)) if until else "+")
        for page in whole_stream(self.redis, self.keys.outcomes, READ_AT_A_TIME, start, end):
            yield from _read(page)

    def erase(self, sub: str, since: bytes | None = None, but: str = "") -> set[str]:
        """Erase an account's outcomes, or those after the entry `since`, a page at a time.

        The outcome `but` (JSON) stays. Returns the ids of the emails that the erased ones named.
        """
        start, mail_ids = f"({since.decode()}" if since else "-", set()
        named = _to_json(sub)
        for page in whole_stream(self.redis, self.keys.outcomes, READ_AT_A_TIME, start):
            # Reading them all as JSON would take most of the time.
            found = [
                (entry_id, json.loads(text))
                for entry_id, text in _read(page)
                if named in text and text != but
            ]
            ours = [(entry_id, outcome) for entry_id, outcome in found if outcome.get("sub") == sub]
            details = [outcome["detail"] for _, outcome in ours]
            mail_ids |= {str(detail["mail_id"]) for detail in details if "mail_id" in detail}
            if ours:
                self.redis.xdel(self.keys.outcomes, *(entry_id for entry_id, _ in ours))
        return mail_ids

    def newest_id(self) -> bytes | None:
        newest = cast("list[Any]", self.redis.xrevrange(self.keys.outcomes, count=1))
        return cast("bytes", newest[0][0]) if newest else None

    def delivered(self, entry_id: bytes) -> None:
        """Record that all outcomes up to this entry are delivered."""
        self.redis.set(self.keys.outcomes_sent, entry_id)

    def take_turn(self, length: timedelta) -> bool:
        """Take the turn to deliver, until `end_turn` or for `length`; false if someone else has it."""
        return bool(self.redis.set(self.keys.outcomes_lock, 1, nx=True, px=length))

    def end_turn(self) -> None:
        self.redis.delete(self.keys.outcomes_lock)


def _read(entries: Any) -> Iterator[tuple[bytes, str]]:
    return ((entry_id, fields[b"outcome"].decode()) for entry_id, fields in entries)
