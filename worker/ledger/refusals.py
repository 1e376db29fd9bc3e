"""Addresses that a mail server refused for good, until that is resolved.

One for each account, and one for the operator's own. It is resolved when a letter to the same goes out, when
the user did what it asked for, when the account is connected with another address, when it is forgotten, or
after thirty days.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgpack

from worker.ledger.records import from_ms, to_ms

#: How long one is told of.
KEPT_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Refusal:
    #: None for the operator's.
    sub: str | None
    mail_id: str
    at: datetime
    #: With most of it masked.
    address: str
    reason: str

    @property
    def as_json(self) -> dict[str, Any]:
        """As in the contract (§6)."""
        at = self.at.isoformat(timespec="milliseconds")
        return {
            "sub": self.sub,
            "mail_id": self.mail_id,
            "at": at,
            "address": self.address,
            "reason": self.reason,
        }


def masked(address: str) -> str:
    """The address with one letter before the @ and its domain, so that whoever knows it recognises it."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"


def pack_refusal(mail_id: str, now: datetime, address: str, reason: str, by: str) -> bytes:
    """What is stored; `by` tells the address from another."""
    kept = {"mail_id": mail_id, "at": to_ms(now), "address": masked(address), "reason": reason, "by": by}
    return bytes(msgpack.packb(kept))


def unpack_refusals(stored: Iterable[tuple[bytes, bytes]], now: datetime) -> tuple[Refusal, ...]:
    """Those that still stand, the newest first."""
    found = []
    for sub, value in stored:
        kept = msgpack.unpackb(value)
        at = from_ms(kept["at"])
        if now - at < KEPT_FOR:
            found.append(Refusal(sub.decode() or None, kept["mail_id"], at, kept["address"], kept["reason"]))
    return tuple(sorted(found, key=lambda each: each.at, reverse=True))
