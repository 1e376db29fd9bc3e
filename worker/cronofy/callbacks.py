"""Addresses that Cronofy calls back: `RECONCILER_WEBHOOK_URL`, then a path with an opaque key.

The key names the account, and for an event's own subscription the event too, since nothing in a
callback's body does so for certain (reference §6a). Cronofy took addresses of at most 128 characters
(§6b), so it is short, and it is the same each time, so that an address can be recognised.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgpack

from worker.ledger.vault import Vault

#: Where `reconciler serve` takes callbacks.
PATH = "/webhooks/cronofy"


@dataclass(frozen=True, slots=True)
class Callee:
    """Whom a callback is about; both ids of the event, or neither."""

    sub: str
    calendar_id: str | None = None
    event_id: str | None = None


def callback_path(vault: Vault, sub: str, calendar_id: str | None = None, event_id: str | None = None) -> str:
    """The path for callbacks about an account, or about one of its events."""
    names = [sub] if calendar_id is None or event_id is None else [sub, calendar_id, event_id]
    key = base64.urlsafe_b64encode(vault.seal_name(msgpack.packb(names))).rstrip(b"=")
    return f"{PATH}/{key.decode()}"


def read_callback_key(vault: Vault, key: str) -> Callee | None:
    """Whom the key of a callback's path names; None where it is none of ours."""
    try:
        sealed = base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    plain = vault.open_name(sealed)
    return None if plain is None else Callee(*msgpack.unpackb(plain))


def origin_of(url: str) -> str:
    """What stands before the webhook's path; `url` is the public URL, with or without that path."""
    return url.rstrip("/").removesuffix(PATH)


class Callbacks:
    """Makes and recognises the addresses of one public URL."""

    def __init__(self, url: str, vault: Vault) -> None:
        """`url` is the public URL of `reconciler serve`, with or without the path of its webhook."""
        self._base = origin_of(url)
        self._vault = vault

    def of(self, sub: str, calendar_id: str | None = None, event_id: str | None = None) -> str:
        """The address for callbacks about this account, or about one of its events."""
        return self._base + callback_path(self._vault, sub, calendar_id, event_id)

    def leads_here(self, address: str) -> bool:
        """Whether the address is below our public URL."""
        return address.startswith(f"{self._base}{PATH}/")

    def account_of(self, address: str) -> str | None:
        """The account that an address of ours names, also one of another public URL; None for others."""
        before, path, key = address.rpartition(f"{PATH}/")
        callee = read_callback_key(self._vault, key) if before and path else None
        return callee.sub if callee else None
