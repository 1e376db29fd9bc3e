"""Dead letters: what could not be carried out, kept with the reason, to be corrected and replayed.

They are refused payloads, payloads on which a task failed unexpectedly, parked events and damaged records.
None is ever trimmed: a letter stays until an operator replays or drops it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import msgpack
from redis import Redis

from worker.ledger.keys import Keys
from worker.ledger.sealed import place_in_letter
from worker.ledger.vault import Vault, VaultError

#: How many letters to read at a time: their payloads may be large.
PAGE = 50
#: The keyword under which positional arguments are kept; no task takes any.
POSITIONAL = "*"
#: What the vault seals of a letter.
SEALED_PARTS = ("kwargs", "traceback", "record")
UNREADABLE = "This stream entry is not a dead letter."


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

    def packed(self, vault: Vault) -> bytes:
        """The value in the stream."""
        plain = {"kwargs": _as_json(self.kwargs)}
        if self.traceback is not None:
            plain["traceback"] = self.traceback.encode(errors="backslashreplace")
        if self.record is not None:
            plain["record"] = self.record
        sealed = {name: vault.seal(value, *place_in_letter(self.task, name)) for name, value in plain.items()}
        letter = {"task": self.task, "reason": self.reason, **sealed}
        return bytes(msgpack.packb(letter, unicode_errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A letter as stored in the stream."""

    letter_id: str
    #: Without payload, traceback and record if they cannot be opened.
    letter: DeadLetter
    #: Why they cannot be opened, if so.
    sealed: str | None = None
    #: When it was kept, in milliseconds, if its id does not say: it was sealed anew since.
    kept_ms: int | None = None

    @property
    def at(self) -> datetime:
        """When it was kept, by the ledger's clock."""
        return datetime.fromtimestamp((self.kept_ms or kept_at(self.letter_id)) / 1000, UTC)


def kept_at(letter_id: str) -> int:
    """When the letter came to its place in the stream, in milliseconds."""
    return int(letter_id.partition("-")[0])


class DeadLetters:
    """The dead letters of a ledger, oldest first."""

    def __init__(self, redis: Redis, keys: Keys, vault: Vault) -> None:
        self._redis = redis
        self._vault = vault
        self._key = keys.dead_letters

    def __len__(self) -> int:
        return self._redis.xlen(self._key)

    def __iter__(self) -> Iterator[KeptLetter]:
        """All of them, a page in memory at a time."""
        start = "-"
        while page := cast("list[Any]", self._redis.xrange(self._key, min=start, count=PAGE)):
            yield from map(self._open, page)
            start = f"({page[-1][0].decode()}"

    def newest(self, most: int) -> list[KeptLetter]:
        """Up to `most` of the newest, oldest first."""
        entries = cast("list[Any]", self._redis.xrevrange(self._key, count=most))
        return [self._open(entry) for entry in reversed(entries)]

    def find(self, letter_id: str) -> KeptLetter | None:
        """The letter with this id."""
        if not all(part.isdecimal() for part in letter_id.split("-", 1)) or "-" not in letter_id:
            return None
        entries = cast("list[Any]", self._redis.xrange(self._key, letter_id, letter_id))
        return self._open(entries[0]) if entries else None

    def keep(self, task: str, reason: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Keep a refused payload; returns the letter's id."""
        content = {**kwargs, POSITIONAL: list(args)} if args else dict(kwargs)
        packed = DeadLetter(task, reason, content).packed(self._vault)
        return cast("bytes", self._redis.xadd(self._key, {"letter": packed})).decode()

    def remove(self, letter_id: str) -> bool:
        """Remove a letter; returns whether it was there."""
        return bool(self._redis.xdel(self._key, letter_id))

    def _open(self, entry: tuple[bytes, dict[bytes, bytes]]) -> KeptLetter:
        letter_id, fields = entry[0].decode(), entry[1]
        try:
            packed = msgpack.unpackb(fields[b"letter"], unicode_errors="surrogatepass")
            task, reason, kwargs = packed["task"], packed["reason"], packed["kwargs"]
            at = packed.get("at")
            if not isinstance(task, str) or not isinstance(reason, str):
                return KeptLetter(letter_id, DeadLetter("", UNREADABLE), UNREADABLE)
        except (AttributeError, KeyError, TypeError, ValueError, msgpack.UnpackException):
            return KeptLetter(letter_id, DeadLetter("", UNREADABLE), UNREADABLE)
        try:
            traceback, record = (
                self._vault.open(packed[name], *place_in_letter(task, name)) if name in packed else None
                for name in ("traceback", "record")
            )
            letter = DeadLetter(
                task,
                reason,
                json.loads(self._vault.open(kwargs, *place_in_letter(task, "kwargs"))),
                None if traceback is None else traceback.decode(),
                record,
            )
        except VaultError as error:
            return KeptLetter(letter_id, DeadLetter(task, reason), str(error), at)
        return KeptLetter(letter_id, letter, kept_ms=at)


def _as_json(kwargs: Mapping[str, Any]) -> bytes:
    """Whatever was sent, as JSON; values JSON does not know are kept as text."""
    try:
        return json.dumps(kwargs, default=repr).encode()
    except RecursionError:
        # Whatever could be read at all fits into a fresh stack.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(json.dumps, kwargs, default=repr).result().encode()
