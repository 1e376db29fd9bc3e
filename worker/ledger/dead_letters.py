"""Dead letters: payloads that cannot be carried out, kept with the reason, to be corrected and replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgpack

from worker.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that was refused. `kwargs` may hold secrets: they are sealed in Redis.

    Positional arguments, which no task takes, are kept in it under ``*``.
    """

    letter_id: str
    task: str
    reason: str
    kwargs: Any


class DeadLetters:
    """The dead letters of a ledger, oldest first."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._key = f"{ledger.prefix}:dead-letters"

    def keep(self, task: str, reason: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Keep a refused payload; returns the letter's id."""
        content = {**kwargs, "*": list(args)} if args else dict(kwargs)
        sealed = self._ledger.vault.seal(json.dumps(content, default=repr).encode())
        letter = msgpack.packb({"task": task, "reason": reason, "kwargs": sealed})
        return cast("bytes", self._ledger.redis.xadd(self._key, {"letter": letter})).decode()

    def all(self) -> list[DeadLetter]:
        """Every letter, opened."""
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", self._ledger.redis.xrange(self._key))
        return [self._open(letter_id.decode(), fields[b"letter"]) for letter_id, fields in entries]

    def _open(self, letter_id: str, packed: bytes) -> DeadLetter:
        letter = msgpack.unpackb(packed)
        kwargs = json.loads(self._ledger.vault.open(letter["kwargs"]))
        return DeadLetter(letter_id, letter["task"], letter["reason"], kwargs)
