"""Tombstones: which accounts were forgotten, without saying who they were.

Each is a keyed hash of the account's id. The key is random, and sealed by the vault, so that it outlives any
vault key; without it nobody can try ids against the hashes.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from redis import Redis

from worker.ledger.keys import Keys
from worker.ledger.records import to_ms
from worker.ledger.vault import Vault, VaultError

#: How long a tombstone is kept.
KEPT_FOR = timedelta(days=365)
#: What the hashes' key is sealed for.
PLACE = ("about", "tombstones")


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The tombstones of a ledger."""

    redis: Redis
    keys: Keys
    vault: Vault

    def add(self, sub: str, now: datetime) -> None:
        """Note that this account was forgotten now, and remove what is older than `KEPT_FOR`."""
        with self.redis.pipeline() as pipeline:
            pipeline.zadd(self.keys.forgotten, {self._hash(sub, self._key() or self._new_key()): to_ms(now)})
            pipeline.zremrangebyscore(self.keys.forgotten, "-inf", to_ms(now - KEPT_FOR))
            pipeline.execute()

    def has(self, sub: str) -> bool:
        """Whether this account was forgotten; false, too, if no vault key can tell any more."""
        key = self._key()
        return key is not None and self.redis.zscore(self.keys.forgotten, self._hash(sub, key)) is not None

    def _hash(self, sub: str, key: bytes) -> bytes:
        return hmac.digest(key, sub.encode(), "sha256")[:16]

    def _key(self) -> bytes | None:
        sealed = cast("bytes | None", self.redis.hget(self.keys.about, "tombstones"))
        try:
            return None if sealed is None else self.vault.open(sealed, *PLACE)
        except VaultError:
            return None

    def _new_key(self) -> bytes:
        """A key for a ledger that has none, or whose key was lost with a vault key."""
        sealed = self.vault.seal(secrets.token_bytes(32), *PLACE)
        # Another process may just have made one.
        if not self.redis.hsetnx(self.keys.about, "tombstones", sealed) and self._key() is None:
            self.redis.hset(self.keys.about, "tombstones", sealed)
        return cast("bytes", self._key())
