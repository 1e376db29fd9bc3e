"""The ways by which letters to users leave, other than our own mail server (`RECONCILER_USER_MAIL`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.fernet import Fernet

from worker.ways.signed_post import SignedPost

#: Sends the task that takes letters, under this id, with these arguments.
Publish = Callable[[str, dict[str, Any]], None]


class Way(Protocol):
    """Anything that takes a letter, or raises NotTaken; one that is sent twice has the same id."""

    def send(self, letter: Mapping[str, Any]) -> None:
        """Send it."""


@dataclass(frozen=True, slots=True)
class ByTask:
    """Through the broker, sealed: it is no place for a link that opens an account."""

    publish: Publish
    key: str

    def send(self, letter: Mapping[str, Any]) -> None:
        """Send it to the task; what the broker raises goes on to the caller."""
        sealed = Fernet(self.key).encrypt(_text(letter).encode()).decode()
        self.publish(letter["id"], {"id": letter["id"], "letter": sealed})


@dataclass(frozen=True, slots=True)
class ByUrl:
    """As a signed webhook."""

    receiver: SignedPost

    def send(self, letter: Mapping[str, Any]) -> None:
        """Post it; NotTaken unless the receiver says that it has it."""
        self.receiver.send(letter["id"], _text(letter))


def _text(letter: Mapping[str, Any]) -> str:
    return json.dumps(letter, ensure_ascii=False)
