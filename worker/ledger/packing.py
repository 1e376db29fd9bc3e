"""Packs and unpacks the ledger's records.

An event's value is a header that the Lua scripts can read (next look, start, when it was tracked, cause),
then deflated msgpack.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any

import msgpack

from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.model import Cause
from worker.ledger.records import (
    AccessToken,
    Account,
    Acknowledgement,
    Choice,
    Episode,
    EventKey,
    LastRead,
    Mailed,
    Memo,
    NotificationChannel,
    Obstacle,
    Stored,
    TrackedEvent,
    Write,
    from_ms,
)

#: A cause's index is its byte in the header; the first is for events not looked at yet.
CAUSES: tuple[Cause | None, ...] = (None, *sorted(TABLE, key=lambda cause: TABLE[cause].number))

_HEADER = struct.Struct(">dddB")
#: Without zlib's own header and checksum.
_RAW_DEFLATE = -zlib.MAX_WBITS
#: Later than any date: an unknown start or next look.
_FAR_MS = 9e15
#: The next look of a parked event: later still, so that the scripts can recognise it.
_PARKED_MS = 9.1e15


@cache
def _defaults(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """The fields of a record, each with its default (or MISSING)."""
    return tuple(
        (item.name, item.default_factory() if item.default_factory is not MISSING else item.default)
        for item in fields(kind)
    )


def _packable(value: TrackedEvent | Episode | Write, **changed: Any) -> dict[str, Any]:
    """The fields that differ from their defaults: there are many records, so their bytes count."""
    packed = {}
    for name, default in _defaults(type(value)):  # type: ignore[arg-type]
        content = changed[name] if name in changed else getattr(value, name)
        if content is not None and content != default:
            packed[name] = content
    return packed


#: JSON, since the caller's numbers may be too long for msgpack.
_body_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def pack_event(event: TrackedEvent, body: bytes = b"") -> bytes:
    """The ledger's value for an event; `body` is its body if that was packed before."""
    starts_at = event.starts_at
    never = _PARKED_MS if event.parked else _FAR_MS
    header = _HEADER.pack(
        never if event.next_look is None else event.next_look,
        _FAR_MS if starts_at is None else starts_at.timestamp() * 1000,
        event.tracked_at,
        CAUSES.index(event.cause),
    )
    packed = _packable(
        event,
        body=body or _body_to_json(event.body).encode(),
        writes={pid: _packable(write) for pid, write in event.writes.items()},
    )
    del packed["key"]
    # These two are in the header.
    packed.pop("next_look", None)
    packed.pop("tracked_at", None)
    if event.asked_at == event.tracked_at:
        del packed["asked_at"]
    content = msgpack.packb([event.key.calendar_id, event.key.event_id, packed])
    # Records are repetitive, above all their history: this halves them in a few microseconds. Higher levels
    # take longer and save no bytes once memory is allocated.
    return header + zlib.compress(content, level=4, wbits=_RAW_DEFLATE)


def times_in(value: bytes) -> tuple[float, float]:
    """The next look and the start in a value's header: to sort many values without unpacking them."""
    if len(value) < _HEADER.size:
        return 0.0, _FAR_MS
    next_look, start, _, _ = _HEADER.unpack_from(value)
    return next_look, start


def unpack_event(value: bytes) -> Stored:
    """Read a value that `pack_event` made."""
    next_look, _, tracked_at, _ = _HEADER.unpack_from(value)
    content = zlib.decompress(value[_HEADER.size :], wbits=_RAW_DEFLATE)
    calendar_id, event_id, packed = msgpack.unpackb(content, strict_map_key=False)
    body = packed["body"]
    packed["body"] = json.loads(body)
    packed["writes"] = {pid: Write(**write) for pid, write in packed.get("writes", {}).items()}
    packed["notified"] = tuple(packed.get("notified", ()))
    packed["history"] = tuple(tuple(entry) for entry in packed.get("history", ()))
    if "notice" in packed:
        packed["notice"] = tuple(packed["notice"])
    # Packing leaves these out if they are None or, for `asked_at`, the same as `tracked_at`.
    known = {"provider_name": None, "profile_id": None, "asked_at": int(tracked_at)} | packed
    event = TrackedEvent(
        key=EventKey(calendar_id, event_id),
        next_look=None if next_look >= _FAR_MS else int(next_look),
        tracked_at=int(tracked_at),
        **known,
    )
    return stored_as(event, value, body)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A stored value that is not a pending event's record."""

    field: bytes
    value: bytes
    error: Exception

    @property
    def stored(self) -> Stored:
        """What is known about it: its ids."""
        bare = TrackedEvent(EventKey.of_field(self.field), {}, None, 0, 0, None, None)
        return Stored(bare, 0.0, fingerprint(self.value[_HEADER.size :]))


def readable_events(
    values: Iterable[tuple[bytes, bytes]],
) -> tuple[tuple[Stored, ...], tuple[Damaged, ...]]:
    """The events in a hash, and the values that are not events."""
    events, damaged = [], []
    for name, value in values:
        try:
            stored = unpack_event(value)
            if stored.event.key.field != name:
                raise ValueError("This is another event's record.")
        except Exception as error:
            damaged.append(Damaged(name, value, error))
        else:
            events.append(stored)
    return tuple(events), tuple(damaged)


def readable_event(name: bytes, value: bytes | None) -> Stored | None:
    """The event in this field of a hash; None if there is none, or it is damaged."""
    events, _ = readable_events([(name, value)] if value else ())
    return events[0] if events else None


def stored_as(event: TrackedEvent, value: bytes, body: bytes = b"") -> Stored:
    """The record in `value`, with what shows whether it has changed since."""
    return Stored(event, _HEADER.unpack_from(value)[0], fingerprint(value[_HEADER.size :]), body)


def fingerprint(value: bytes) -> str:
    """The same as Lua's ``redis.sha1hex``; shows whether a value changed meanwhile."""
    return hashlib.sha1(value, usedforsecurity=False).hexdigest()


def pack_memo(memo: Memo) -> bytes:
    """What looks remember about an account."""
    last_read = [memo.last_read.pages, memo.last_read.days] if memo.last_read else None
    return _packed([_packable_episodes(memo.episodes), dict(memo.providers), last_read])


def pack_acknowledgement(given: Acknowledgement) -> bytes:
    return _packed([given.at, given.by, given.note, given.until, given.cause])


def unpack_acknowledgement(value: bytes | None) -> Acknowledgement | None:
    """Read what `pack_acknowledgement` made; None if there is none, or it is damaged."""
    try:
        return Acknowledgement(*msgpack.unpackb(value)) if value else None
    except (ValueError, TypeError, msgpack.UnpackException):
        return None


def pack_notice(interaction: str, subtype: str | None, at: int) -> bytes:
    return _packed([interaction, subtype, at])


def unpack_notice(value: bytes) -> tuple[str, str | None, int]:
    interaction, subtype, at = msgpack.unpackb(value)
    return interaction, subtype, at


def pack_channel(channel: NotificationChannel) -> bytes:
    """An account's channel; the id comes first because a script reads it."""
    return _packed([channel.channel_id, channel.callback_url, channel.refused, channel.failures])


def pack_token(token: AccessToken, credentials: bytes) -> bytes:
    """The access token in these credentials, in a form that scripts can read.

    It says which credentials it is about, so that it means nothing once others are stored.
    """
    asked = "" if token.ask_at is None else token.ask_at
    return f"{fingerprint(credentials)} {token.lapses_at} {asked}".encode()


def unpack_account(sub: str, stored: Mapping[bytes, bytes]) -> Account:
    """Read an account's hash; an empty one means that the account was never connected.

    A part that cannot be read counts as missing and is listed in `unreadable`.
    """
    credentials = stored.get(b"credentials")
    parts: dict[str, Any] = {}
    unreadable = []
    for name, unpack in _PARTS.items():
        value = stored.get(name.encode())
        if value is None:
            continue
        try:
            part = unpack(value)
        except Exception:
            unreadable.append(name)
        else:
            parts |= part if name == "profile" else {name: part}
    if "token" in parts:
        of, token = parts["token"]
        # Others may have been stored since.
        parts["token"] = token if of == fingerprint(credentials or b"") else None
    return Account(
        sub=sub,
        credentials=credentials,
        lost=stored.get(b"standing") == b"lost",
        data_center=stored.get(b"data_center", b"us").decode(),
        unreadable=tuple(unreadable),
        **parts,
    )


def _unpack_profile(value: bytes) -> dict[str, str | None]:
    profile = msgpack.unpackb(value)
    return {"email": profile["email"], "name": profile["name"]}


def unpack_memo(value: bytes) -> Memo:
    episodes, providers, last_read = msgpack.unpackb(value, strict_map_key=False)
    return Memo(_unpack_episodes(episodes), providers, LastRead(*last_read) if last_read else None)


def _unpack_mailed(value: bytes) -> Mailed:
    sent, over = msgpack.unpackb(value)
    return Mailed(tuple((at, pid) for at, pid in sent), _unpack_episodes(over))


def _unpack_choices(value: bytes) -> tuple[Choice, ...]:
    return tuple(
        Choice(profile_id, to, at, by, tuple(event) if event else None)
        for profile_id, to, at, by, event in msgpack.unpackb(value)
    )


def _unpack_token(value: bytes) -> tuple[str, AccessToken]:
    of, lapses_at, ask_at = value.decode().split(" ")
    return of, AccessToken(int(lapses_at), int(ask_at) if ask_at else None)


def _unpack_episodes(episodes: Mapping[str, Any]) -> dict[str, Episode]:
    return {
        pid: Episode(
            started_at=packed["started_at"],
            mails=packed.get("mails", 0),
            mail_ids=tuple(packed.get("mail_ids", ())),
            events=tuple((calendar, event) for calendar, event in packed.get("events", ())),
            obstacle=Obstacle(packed["obstacle"]) if "obstacle" in packed else None,
            before=tuple(packed.get("before", ())),
            followed_at=packed.get("followed_at"),
            linked=packed.get("linked"),
        )
        for pid, packed in episodes.items()
    }


def _packable_episodes(episodes: Mapping[str, Episode]) -> dict[str, Any]:
    return {pid: _packable(episode) for pid, episode in episodes.items()}


def _packed(value: Any) -> bytes:
    return bytes(msgpack.packb(value))


#: How a look's changes to an account are packed: by the field of `Change`, which is also that of the hash.
PACKED_PARTS: Mapping[str, Callable[[Any], bytes]] = {
    "memo": pack_memo,
    # Apart from the memo, whose list 0.1.0 could not read if it were longer.
    "profile_names": lambda names: _packed(dict(names)),
    "mailed": lambda mailed: _packed([mailed.sent, _packable_episodes(mailed.over)]),
    # Apart from the memo: a release that knows only relink emails would end them.
    "connects": lambda episodes: _packed(_packable_episodes(episodes)),
    "channel": pack_channel,
    "choices": lambda choices: _packed(
        [[c.profile_id, c.to_profile_id, c.at, c.by, c.event] for c in choices]
    ),
}
#: How each part of an account's hash is read; mostly it is the field of `Account` with its name.
_PARTS: Mapping[str, Callable[[bytes], Any]] = {
    "profile": _unpack_profile,
    "memo": unpack_memo,
    "profile_names": lambda value: {str(pid): str(name) for pid, name in msgpack.unpackb(value).items()},
    "mailed": _unpack_mailed,
    "last_notice": lambda value: from_ms(float(value)),
    "locale": bytes.decode,
    "tzid": bytes.decode,
    "connects": lambda value: _unpack_episodes(msgpack.unpackb(value)),
    "choices": _unpack_choices,
    "channel": lambda value: NotificationChannel(*msgpack.unpackb(value)),
    "channel_seen": lambda value: from_ms(float(value)),
    "channel_due": lambda value: int(float(value)),
    "profiles_due": lambda value: int(float(value)),
    "token": _unpack_token,
}
