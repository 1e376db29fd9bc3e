"""Dead letters: what could not be carried out, kept with the reason, to be corrected and replayed.

They are refused payloads, payloads on which a task failed unexpectedly, parked events and damaged records.
None is ever trimmed: a letter stays until an operator replays or drops it. But anyone who may send a task can
have payloads refused, so those are bounded: one that no caller may send is kept as its head, and once there
are many letters none is added. Looks add theirs all the same, as an event has one at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, cast

import msgpack
from redis import Redis

from worker.ledger.keys import Keys
from worker.ledger.paging import added_at, newest_of_stream, place_in_stream, texts, whole_stream
from worker.ledger.records import from_ms
from worker.ledger.vault import Vault, VaultError, place_in_letter

#: How many letters to read at a time: their payloads may be large.
PAGE = 50
#: After checking this many letters, a page ends, however few of them fit.
MOST_CHECKED = 500
#: For about this many it is kept what a person did with them.
MOST_HANDLED = 1000
#: With this many letters, payloads are no longer kept: together they take half a gigabyte at most.
MOST = 5000
#: A larger payload, in bytes of JSON, is of no use to anybody: none may be sent (contract §1).
LARGEST = 64 * 1024
#: How many characters are kept of it, and the keyword under which.
HEAD_LENGTH, HEAD = 4096, "*head"
#: The keyword under which positional arguments are kept; no task takes any.
POSITIONAL = "*"
#: Counters of payloads that were not kept; "failed" or "refused" follows, which is why they should have been.
DROPPED = "letters-dropped:"
SEALED_PARTS = ("kwargs", "traceback", "record")
UNREADABLE = "This stream entry is not a dead letter."


class Full(Exception):
    """There are too many letters to keep another payload."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that could not be carried out.

    The payload, traceback and record may hold secrets or users' texts, so they are sealed in Redis.
    """

    task: str
    reason: str
    #: Its keyword arguments, with positional ones under ``*``.
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: The error's traceback, secrets masked.
    traceback: str | None = None
    #: A ledger value that could not be read.
    record: bytes | None = None
    #: The size in bytes of a payload of which only the head is kept.
    cut: int | None = None

    def packed(self, vault: Vault) -> bytes:
        """The value in the stream."""
        plain = {"kwargs": _as_text(self.kwargs).encode(errors="surrogatepass")}
        if self.traceback is not None:
            plain["traceback"] = self.traceback.encode(errors="backslashreplace")
        if self.record is not None:
            plain["record"] = self.record
        sealed = {name: vault.seal(value, *place_in_letter(self.task, name)) for name, value in plain.items()}
        letter: dict[str, Any] = {"task": self.task, "reason": self.reason, **sealed}
        if self.cut is not None:
            letter["cut"] = self.cut
        return bytes(msgpack.packb(letter, unicode_errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A letter as stored in the stream."""

    letter_id: str
    #: Without payload, traceback and record if they cannot be opened.
    letter: DeadLetter
    #: Why they cannot be opened, if so.
    sealed: str | None = None
    #: When it was kept, in milliseconds, if its id does not say: it was resealed since.
    kept_ms: int | None = None

    @property
    def obstacle(self) -> str | None:
        """Why the task cannot be sent again, if so."""
        if self.letter.cut is not None:
            return f"its payload is {self.letter.cut} bytes long, and only the head of it is kept"
        return self.sealed

    @property
    def at(self) -> datetime:
        """When it was kept, by the ledger's clock."""
        return from_ms(self.kept_ms or place_in_stream(self.letter_id.encode())[0])


@dataclass(frozen=True, slots=True)
class Handled:
    at: datetime
    id: str
    task: str
    #: replayed or dropped.
    how: str
    by: str


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letters of a ledger, oldest first."""

    redis: Redis
    keys: Keys
    vault: Vault

    def __len__(self) -> int:
        return self.redis.xlen(self.keys.dead_letters)

    def __iter__(self) -> Iterator[KeptLetter]:
        """All of them, a page in memory at a time."""
        for page in whole_stream(self.redis, self.keys.dead_letters, PAGE):
            yield from (self._open(*entry) for entry in page)

    def newest(self, most: int) -> list[KeptLetter]:
        """Up to `most` of the newest, oldest first."""
        entries = cast("list[Any]", self.redis.xrevrange(self.keys.dead_letters, count=most))
        return [self._open(*entry) for entry in reversed(entries)]

    def page(
        self, most: int, after: str | None, fits: Callable[[KeptLetter], bool]
    ) -> tuple[list[KeptLetter], str | None]:
        """A page of up to `most` that fit, the newest first, behind the letter `after`. Raises BadCursor."""
        return newest_of_stream(
            self.redis, self.keys.dead_letters, most, after, self._open, fits, checked=MOST_CHECKED, step=PAGE
        )

    def find(self, letter_id: str) -> KeptLetter | None:
        if not all(part.isdecimal() for part in letter_id.split("-", 1)) or "-" not in letter_id:
            return None
        entries = cast("list[Any]", self.redis.xrange(self.keys.dead_letters, letter_id, letter_id))
        return self._open(*entries[0]) if entries else None

    def keep(
        self, task: str, reason: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, failed: bool = False
    ) -> str:
        """Keep a payload that was refused, or on which its task `failed`; returns the letter's id.

        Full, which is counted, if there are too many letters; several processes may each add one more.
        """
        if len(self) >= MOST:
            self.redis.hincrby(self.keys.counters, f"{DROPPED}{'failed' if failed else 'refused'}", 1)
            raise Full
        content = {**kwargs, POSITIONAL: list(args)} if args else dict(kwargs)
        text = _as_text(content)
        size = len(text.encode(errors="surrogatepass"))
        letter = DeadLetter(task, reason, content)
        if size > LARGEST:
            # Positional arguments have no names that tell which are secret.
            head = (_as_text(kwargs) if args else text)[:HEAD_LENGTH]
            letter = DeadLetter(task, reason, {HEAD: head}, cut=size)
        packed = letter.packed(self.vault)
        return cast("bytes", self.redis.xadd(self.keys.dead_letters, {"letter": packed})).decode()

    def remove(self, letter_id: str) -> bool:
        """Remove a letter; returns whether it was there."""
        return bool(self.redis.xdel(self.keys.dead_letters, letter_id))

    def settle(self, kept: KeptLetter, how: str, by: str) -> bool:
        """Remove a letter that a person replayed or dropped, and note who; returns whether it was there."""
        with self.redis.pipeline() as pipeline:
            pipeline.xdel(self.keys.dead_letters, kept.letter_id)
            noted: dict[Any, Any] = {"id": kept.letter_id, "task": kept.letter.task, "how": how, "by": by}
            pipeline.xadd(self.keys.handled, noted, maxlen=MOST_HANDLED, approximate=True)
            was_there, noted_id = pipeline.execute()
        if not was_there:
            # Somebody else was faster.
            self.redis.xdel(self.keys.handled, noted_id)
        return bool(was_there)

    def handled(self, most: int) -> list[Handled]:
        """Up to `most` of those that a person replayed or dropped, the latest first."""
        entries = cast("list[Any]", self.redis.xrevrange(self.keys.handled, count=most))
        return [Handled(added_at(entry_id), **texts(fields)) for entry_id, fields in entries]

    def _open(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> KeptLetter:
        letter_id = entry_id.decode()
        try:
            packed = msgpack.unpackb(fields[b"letter"], unicode_errors="surrogatepass")
            task, reason, at = packed["task"], packed["reason"], packed.get("at")
            if not isinstance(task, str) or not isinstance(reason, str) or "kwargs" not in packed:
                raise TypeError
        except (AttributeError, KeyError, TypeError, ValueError, msgpack.UnpackException):
            return KeptLetter(letter_id, DeadLetter("", UNREADABLE), UNREADABLE)
        try:
            opened = {
                name: self.vault.open(packed[name], *place_in_letter(task, name))
                for name in SEALED_PARTS
                if name in packed
            }
        except VaultError as error:
            return KeptLetter(letter_id, DeadLetter(task, reason), str(error), at)
        traceback = opened["traceback"].decode() if "traceback" in opened else None
        more = traceback, opened.get("record"), packed.get("cut")
        return KeptLetter(
            letter_id, DeadLetter(task, reason, json.loads(opened["kwargs"]), *more), kept_ms=at
        )


def _as_text(kwargs: Mapping[str, Any]) -> str:
    """Whatever was sent, as JSON; values JSON does not know are kept as text."""
    write = partial(json.dumps, kwargs, default=repr, ensure_ascii=False)
    try:
        return write()
    except RecursionError:
        # Whatever could be read at all fits into a fresh stack.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(write).result()
