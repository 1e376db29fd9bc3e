"""The vault: encrypts secrets before they reach Redis (Fernet, with rotatable keys).

What is sealed is bound to its place, such as an account and a field, so that whoever can write to Redis
cannot move it to another. A Fernet token has eight signed bytes for the time of sealing, which nobody here
needs: they hold a keyed hash of the place. Releases that bind nothing open such a token all the same, and a
token of theirs, known by a real time in these bytes, opens in any place.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, cast

from redis import Redis

from worker.ledger.keys import Keys

if TYPE_CHECKING:
    from worker.ledger.vault_key import VaultKey

#: Set in the mark of every place, and in no time before the sun is gone.
BOUND = 1 << 63


class VaultError(Exception):
    """A sealed value cannot be opened: no vault key that is set fits, or its place does not."""


class Fit(IntEnum):
    """How a sealed value stands to the keys and to its place, the best first."""

    #: Sealed with the newest key, for this place.
    CURRENT = 0
    #: Sealed with the newest key by a release that did not bind values to a place.
    UNBOUND = 1
    #: Only an older key opens it.
    OLDER = 2
    #: No key opens it, or it was sealed for another place.
    SHUT = 3


class Vault:
    """Seals with the newest key and opens with any of them; without a key it opens nothing."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: Fernet keys, newest first (``RECONCILER_VAULT_KEYS``)."""
        self._keys: list[VaultKey] = []
        if keys:
            # A ledger that is only read needs no key, and `cryptography` takes as long as Redis's answer.
            from worker.ledger.vault_key import VaultKey  # noqa: PLC0415

            self._keys = [VaultKey(key) for key in keys]

    def seal(self, plain: bytes, *place: str) -> bytes:
        """Encrypt and sign for this place: its kind, then what tells it from others of its kind."""
        return self._keys[0].seal(plain, _mark_of(self._keys[0], place))

    def open(self, sealed: bytes, *place: str) -> bytes:
        """Decrypt what was sealed for this place; raises VaultError if no key fits, or the place does not."""
        key, mark = self._sealed_with(sealed)
        if key is None:
            raise VaultError(
                "A stored secret cannot be read with any key in RECONCILER_VAULT_KEYS: "
                "put back the key that was in use when it was stored."
            ) from None
        if not _belongs(key, mark, place):
            raise VaultError("A stored secret is not where it was sealed: somebody moved it within Redis.")
        return key.open(sealed)

    def fit(self, sealed: bytes, *place: str) -> Fit:
        """How a sealed value stands to the keys and to this place, without decrypting it."""
        key, mark = self._sealed_with(sealed)
        if key is None or not _belongs(key, mark, place):
            return Fit.SHUT
        if key is not self._keys[0]:
            return Fit.OLDER
        return Fit.CURRENT if mark & BOUND else Fit.UNBOUND

    def _sealed_with(self, sealed: bytes) -> tuple[VaultKey | None, int]:
        """The key that fits, and the mark or time that was sealed with it."""
        marks = ((key, key.mark_of(sealed)) for key in self._keys)
        return next(((key, mark) for key, mark in marks if mark is not None), (None, 0))

    def seal_name(self, plain: bytes) -> bytes:
        """Encrypt and sign what goes into a URL: short, and always the same (AES-SIV)."""
        return self._keys[0].seal_name(plain)

    def open_name(self, sealed: bytes) -> bytes | None:
        """Open what `seal_name` sealed; None if no key fits."""
        found = (key.open_name(sealed) for key in self._keys)
        return next((plain for plain in found if plain is not None), None)


def _mark_of(key: VaultKey, place: Sequence[str]) -> int:
    """What stands for a place in a token's time."""
    return key.hash_of(place) | BOUND


def _belongs(key: VaultKey, mark: int, place: Sequence[str]) -> bool:
    """Whether what has this mark was sealed for this place, or by a release that bound nothing to one."""
    return not mark & BOUND or mark == _mark_of(key, place)


# The places that values are sealed for.


def place_of_credentials(sub: str) -> tuple[str, ...]:
    """An account's tokens."""
    return "credentials", sub


def place_of_mail(mail_id: str, sub: str) -> tuple[str, ...]:
    """An email in the outbox: with it, its relink address belongs to this account."""
    return "mail", mail_id, sub


def place_of_parts(mail_id: str, sub: str) -> tuple[str, ...]:
    """What an email in the outbox was composed of."""
    return "parts", mail_id, sub


def place_of_kept_key(name: str) -> tuple[str, ...]:
    """One of the ledger's own keys."""
    return "about", name


def place_in_letter(task: str, part: str) -> tuple[str, ...]:
    """A part of a dead letter ("kwargs", "traceback" or "record"): it can be replayed only to this task."""
    return "letter", task, part


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A random key of the ledger's own, by its name in `Keys.about`; made when first needed.

    It is sealed, so it outlives any vault key, and nobody who reads Redis alone has it.
    """

    redis: Redis
    keys: Keys
    vault: Vault
    name: str

    def find(self) -> bytes | None:
        """The key; None if there is none yet, or it was lost with a vault key."""
        sealed = cast("bytes | None", self.redis.hget(self.keys.about, self.name))
        try:
            return None if sealed is None else self.vault.open(sealed, *place_of_kept_key(self.name))
        except VaultError:
            return None

    def take(self) -> bytes:
        """The key, made if there is none."""
        if key := self.find():
            return key
        sealed = self.vault.seal(secrets.token_bytes(32), *place_of_kept_key(self.name))
        # Another process may just have made one.
        if not self.redis.hsetnx(self.keys.about, self.name, sealed) and self.find() is None:
            self.redis.hset(self.keys.about, self.name, sealed)
        return cast("bytes", self.find())
