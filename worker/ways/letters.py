"""The ways by which letters to users leave, other than our own mail server (`RECONCILER_USER_MAIL`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.fernet import Fernet

from worker.ways.signed_post import SignedPost

#: Sends the task that takes letters, under this id, with these arguments.
Publish = Callable[[str, dict[str, Any]], None]
#: Takes a letter, or raises NotTaken; one that is sent twice has the same id.
Way = Callable[[Mapping[str, Any]], None]


def by_task(publish: Publish, key: str) -> Way:
    """Through the broker, sealed: it is no place for a link that opens an account.

    What the broker raises goes on to the caller.
    """

    def send(letter: Mapping[str, Any]) -> None:
        sealed = Fernet(key).encrypt(_text(letter).encode()).decode()
        publish(letter["id"], {"id": letter["id"], "letter": sealed})

    return send


def by_url(receiver: SignedPost) -> Way:
    """As a signed webhook."""
    return lambda letter: receiver.send(letter["id"], _text(letter))


def _text(letter: Mapping[str, Any]) -> str:
    return json.dumps(letter, ensure_ascii=False)
