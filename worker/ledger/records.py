"""What the ledger holds of accounts and events, as frozen values, and how they are packed.

An event's value is a header that the Lua scripts can read (next look, start, cause), then msgpack.
Times inside are milliseconds since the epoch, on the ledger's clock.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgpack

from worker.diagnosis.model import Cause, Diagnosis, Interaction, Notice, Request, Seen
from worker.diagnosis.times import EventTime, MalformedTime, parse_event_time

HISTORY_LENGTH = 20

#: A place in this list is a cause's byte in the header; new causes go at the end. The first is for
#: events that were not looked at yet.
CAUSES: tuple[Cause | None, ...] = (None, *Cause)

_HEADER = struct.Struct(">ddB")
#: Later than any date, for events whose start or next look is not known.
_FAR_MS = 9e15


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch."""
    return int(moment.timestamp() * 1000)


def from_ms(ms: float) -> datetime:
    """The aware UTC datetime of so many milliseconds since the epoch."""
    return datetime.fromtimestamp(ms / 1000, UTC)


@dataclass(frozen=True, slots=True)
class EventKey:
    """What identifies an event within an account: opaque strings, never interpreted."""

    calendar_id: str
    event_id: str

    @property
    def field(self) -> bytes:
        """The hash field of this event; the length in front keeps any two ids apart."""
        calendar = self.calendar_id.encode()
        return b"%d:%b%b" % (len(calendar), calendar, self.event_id.encode())


@dataclass(frozen=True, slots=True)
class Write:
    """One Update Event that sets a profile on an event: recorded before it is sent."""

    at: int
    accepted: bool = False
    #: Why Cronofy refused it for good, if it did.
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class TrackedEvent:
    """An event whose conferencing is awaited, or, once settled, how that ended."""

    key: EventKey
    #: The very body that the caller sent to Create or Update Event.
    body: Mapping[str, Any]
    provider_name: str | None
    tracked_at: int
    #: When waiting began: see `worker.diagnosis.model.Request.asked_at`.
    asked_at: int
    profile_id: str | None
    next_look: int | None
    #: The event as last seen: start, end (as on the wire), summary, event_uid.
    seen: Mapping[str, Any] = field(default_factory=dict)
    interval: float | None = None
    #: Looks in a row that failed.
    failures: int = 0
    notice: tuple[str, str | None, int] | None = None
    writes: Mapping[str, Write] = field(default_factory=dict)
    #: What a person was already told of this event.
    told: tuple[str, ...] = ()
    #: The last diagnosis, as the contract's JSON without ids and next look.
    last: Mapping[str, Any] | None = None
    #: (at, cause or state, what was done), the newest last.
    history: tuple[tuple[int, str, str], ...] = ()

    @property
    def start(self) -> EventTime | None:
        """The start as last seen, or as the caller wrote it."""
        return _event_time(self.seen.get("start", self.body.get("start")), self.tzid)

    @property
    def starts_at(self) -> datetime | None:
        """The moment at which it starts, if that is known."""
        start = self.start
        return start.instant if start else None

    @property
    def end(self) -> EventTime | None:
        """The end as last seen, or as the caller wrote it."""
        return _event_time(self.seen.get("end", self.body.get("end")), self.tzid)

    @property
    def tzid(self) -> str | None:
        """The zone that the caller wrote the event in, for values that carry none."""
        start = self.body.get("start")
        tzid = self.body.get("tzid") or (start.get("tzid") if isinstance(start, Mapping) else None)
        return tzid if isinstance(tzid, str) else None

    @property
    def summary(self) -> str:
        """The summary as last seen, or as the caller wrote it."""
        return str(self.seen.get("summary") or self.body.get("summary") or "")

    @property
    def cause(self) -> Cause | None:
        """The cause that the last look found."""
        name = self.last.get("cause") if self.last else None
        return Cause(name) if name else None

    @property
    def request(self) -> Request:
        """What the diagnosis needs to know of the event's own record."""
        notice = None
        if self.notice:
            interaction, subtype, at = self.notice
            notice = Notice(Interaction(interaction), subtype, from_ms(at))
        return Request(
            profile_id=self.profile_id,
            provider_name=self.provider_name,
            calendar_id=self.key.calendar_id,
            asked_at=from_ms(self.asked_at),
            start=self.start,
            wrote=frozenset(pid for pid, write in self.writes.items() if write.accepted or write.refused),
            notice=notice,
        )

    def diagnosed(self, diagnosis: Diagnosis, now: datetime, done: str) -> TrackedEvent:
        """This record after a look that ended in `diagnosis`; `done` is what was done, in a word."""
        what = diagnosis.cause or diagnosis.state
        return replace(self, last=diagnosis.as_json, failures=0).noted(now, what.value, done)

    def failed(self, reason: str, now: datetime, next_look: datetime) -> TrackedEvent:
        """This record after a look that failed: nothing is concluded, only the next look moves."""
        failed = replace(self, failures=self.failures + 1, next_look=to_ms(next_look))
        return failed.noted(now, "look_failed", reason)

    def saw(self, seen: Seen) -> TrackedEvent:
        """This record with the event as just read."""
        wire = {
            "start": seen.start.wire if seen.start else None,
            "end": seen.end.wire if seen.end else None,
            "summary": seen.summary,
            "event_uid": seen.event_uid,
        }
        asked_at = self.asked_at
        if seen.created is not None and not self.seen:
            asked_at = max(asked_at, to_ms(seen.created))
        known = {name: value for name, value in wire.items() if value is not None}
        return replace(self, seen={**self.seen, **known}, asked_at=asked_at)

    def asked_again(self, now: datetime) -> TrackedEvent:
        """This record when the waiting begins anew: another profile was set, or this one came back."""
        return replace(self, asked_at=to_ms(now), interval=None, notice=None, told=())

    def noticed(self, interaction: str, subtype: str | None, at: int) -> TrackedEvent:
        """This record with what a notification said; the same word said again keeps its first time.

        After news the next look comes soon: a read may lag behind what was notified.
        """
        if self.notice and self.notice[:2] == (interaction, subtype):
            return self
        return replace(self, notice=(interaction, subtype, at), interval=None)

    def noted(self, now: datetime, what: str, done: str) -> TrackedEvent:
        """This record with one more line of history; the oldest go."""
        return replace(self, history=(*self.history, (to_ms(now), what, done))[-HISTORY_LENGTH:])


@dataclass(frozen=True, slots=True)
class Episode:
    """A profile that is disconnected, from the first relink email until it is connected again."""

    started_at: int
    #: Emails so far, the first one and missed reminders included; 0 where none could be sent.
    mails: int
    mail_ids: tuple[str, ...]
    #: The events that the emails spoke of: (calendar_id, event_id).
    events: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Memo:
    """What looks remember of an account, for later looks."""

    episodes: Mapping[str, Episode] = field(default_factory=dict)
    #: profile_id -> provider_name of every conferencing profile ever listed.
    providers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """An account as a look finds it. `credentials` stay encrypted until they are needed."""

    sub: str
    #: None where the account was never connected.
    credentials: bytes | None
    lost: bool
    data_center: str = "us"
    email: str | None = None
    name: str | None = None
    memo: Memo = Memo()


@dataclass(frozen=True, slots=True)
class Stored:
    """A record together with what tells whether it changed since: its next look and its fingerprint."""

    event: TrackedEvent
    next_look: float
    fingerprint: str

    @classmethod
    def of(cls, event: TrackedEvent, value: bytes) -> Stored:
        """The record that `value` holds."""
        return cls(event, _HEADER.unpack_from(value)[0], fingerprint(value[_HEADER.size :]))


def _event_time(value: Any, tzid: str | None) -> EventTime | None:
    try:
        return parse_event_time(value, tzid)
    except MalformedTime:
        return None


T = TypeVar("T", TrackedEvent, Episode, Memo, Write)


def _packable(value: T, **changed: Any) -> dict[str, Any]:
    """The fields that differ from their defaults: records are many, so their bytes count."""
    packed = {}
    for item in fields(value):
        content = changed.get(item.name, getattr(value, item.name))
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if content is not None and content != default:
            packed[item.name] = content
    return packed


def pack_event(event: TrackedEvent) -> bytes:
    """The ledger's value for an event."""
    starts_at = event.starts_at
    header = _HEADER.pack(
        _FAR_MS if event.next_look is None else event.next_look,
        _FAR_MS if starts_at is None else starts_at.timestamp() * 1000,
        CAUSES.index(event.cause),
    )
    packed = _packable(
        event,
        # JSON, since the caller's numbers may be longer than msgpack's.
        body=json.dumps(event.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(),
        writes={pid: _packable(write) for pid, write in event.writes.items()},
    )
    del packed["key"]
    packed.pop("next_look", None)
    return header + bytes(msgpack.packb([event.key.calendar_id, event.key.event_id, packed]))


def unpack_event(value: bytes) -> Stored:
    """Read a value that `pack_event` made."""
    next_look, _, _ = _HEADER.unpack_from(value)
    calendar_id, event_id, packed = msgpack.unpackb(value[_HEADER.size :], strict_map_key=False)
    packed["body"] = json.loads(packed["body"])
    packed["writes"] = {pid: Write(**write) for pid, write in packed.get("writes", {}).items()}
    packed["told"] = tuple(packed.get("told", ()))
    packed["history"] = tuple(tuple(entry) for entry in packed.get("history", ()))
    if "notice" in packed:
        packed["notice"] = tuple(packed["notice"])
    known = {"provider_name": None, "profile_id": None} | packed
    event = TrackedEvent(
        key=EventKey(calendar_id, event_id),
        next_look=None if next_look >= _FAR_MS else int(next_look),
        **known,
    )
    return Stored.of(event, value)


def fingerprint(value: bytes) -> str:
    """What Lua's ``redis.sha1hex`` gives for the value: tells whether it changed meanwhile."""
    return hashlib.sha1(value, usedforsecurity=False).hexdigest()


def pack_memo(memo: Memo) -> bytes:
    """The ledger's value for what looks remember of an account."""
    return bytes(
        msgpack.packb([{pid: _packable(ep) for pid, ep in memo.episodes.items()}, dict(memo.providers)])
    )


def pack_hint(interaction: str, subtype: str | None, at: int) -> bytes:
    """The ledger's value for what a notification said of an event."""
    return bytes(msgpack.packb([interaction, subtype, at]))


def unpack_hint(value: bytes) -> tuple[str, str | None, int]:
    """Read a value that `pack_hint` made."""
    interaction, subtype, at = msgpack.unpackb(value)
    return interaction, subtype, at


def unpack_memo(value: bytes) -> Memo:
    """Read a value that `pack_memo` made."""
    episodes, providers = msgpack.unpackb(value, strict_map_key=False)
    return Memo(
        {
            pid: Episode(
                started_at=packed["started_at"],
                mails=packed.get("mails", 0),
                mail_ids=tuple(packed.get("mail_ids", ())),
                events=tuple((calendar, event) for calendar, event in packed.get("events", ())),
            )
            for pid, packed in episodes.items()
        },
        providers,
    )


def unpack_account(sub: str, stored: Mapping[bytes, bytes]) -> Account:
    """Read an account's hash; an empty one is an account that was never connected."""
    profile = msgpack.unpackb(stored[b"profile"]) if b"profile" in stored else {}
    return Account(
        sub=sub,
        credentials=stored.get(b"credentials"),
        lost=stored.get(b"standing") == b"lost",
        memo=unpack_memo(stored[b"memo"]) if b"memo" in stored else Memo(),
        **profile,
    )


def interval_of(event: TrackedEvent) -> timedelta | None:
    """The last interval between looks, None before the first."""
    return None if event.interval is None else timedelta(seconds=event.interval)
