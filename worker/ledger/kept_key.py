"""Random keys that a ledger keeps: made when first needed, and sealed by the vault.

So they outlive any vault key, and nobody who reads Redis alone has them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import cast

from redis import Redis

from worker.ledger.keys import Keys
from worker.ledger.sealed import place_of_kept_key
from worker.ledger.vault import Vault, VaultError


@dataclass(frozen=True, slots=True)
class KeptKey:
    """One of the ledger's own keys, by its name in `Keys.about`."""

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
        return self.find() or self._make()

    def _make(self) -> bytes:
        sealed = self.vault.seal(secrets.token_bytes(32), *place_of_kept_key(self.name))
        # Another process may just have made one.
        if not self.redis.hsetnx(self.keys.about, self.name, sealed) and self.find() is None:
            self.redis.hset(self.keys.about, self.name, sealed)
        return cast("bytes", self.find())
