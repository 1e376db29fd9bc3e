"""Callback URLs for Cronofy: `RECONCILER_WEBHOOK_URL`, then a path with an opaque key.

The key names the account, and for an event's own subscription also the event, since a callback's body does
not reliably do so (reference §6a). It is short, since Cronofy took at most 128 characters (§6b), and stable,
so that we recognise our own URLs.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import msgpack

from worker.ledger.vault import Vault

#: Where `reconciler serve` takes callbacks.
PATH = "/webhooks/cronofy"


@dataclass(frozen=True, slots=True)
class Callee:
    """What a callback is about: an account, or one of its events if both ids are there."""

    sub: str
    calendar_id: str | None = None
    event_id: str | None = None


def callback_path(vault: Vault, sub: str, calendar_id: str | None = None, event_id: str | None = None) -> str:
    """The path for callbacks about an account or one of its events."""
    names = [sub] if calendar_id is None or event_id is None else [sub, calendar_id, event_id]
    key = base64.urlsafe_b64encode(vault.seal_name(msgpack.packb(names))).rstrip(b"=")
    return f"{PATH}/{key.decode()}"


def read_callback_key(vault: Vault, key: str) -> Callee | None:
    """What a callback path's key names; None if the key is not ours."""
    try:
        sealed = base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    plain = vault.open_name(sealed)
    return None if plain is None else Callee(*msgpack.unpackb(plain))


def account_of(vault: Vault, address: str) -> str | None:
    """The account that a callback URL of ours names, below any public URL; None for others' URLs."""
    before, path, key = address.rpartition(f"{PATH}/")
    callee = read_callback_key(vault, key) if before and path else None
    return callee.sub if callee else None


def origin_of(url: str) -> str:
    """The public URL without the webhook's path; `url` may have it or not."""
    return url.rstrip("/").removesuffix(PATH)


class Callbacks:
    """Makes and recognises the callback URLs below one public URL."""

    def __init__(self, url: str, vault: Vault) -> None:
        """`url` is the public URL of `reconciler serve`, with or without its webhook path."""
        self._base = origin_of(url)
        self._vault = vault

    def of(self, sub: str, calendar_id: str | None = None, event_id: str | None = None) -> str:
        """The URL for callbacks about this account or one of its events."""
        return self._base + callback_path(self._vault, sub, calendar_id, event_id)

    def leads_here(self, address: str) -> bool:
        """Whether the URL is below our public URL."""
        return address.startswith(f"{self._base}{PATH}/")
