"""Tombstones: which accounts were forgotten, without saying who they were.

Each is a keyed hash of the account's id. The key is random, and sealed by the vault, so that it outlives any
vault key; without it nobody can try ids against the hashes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from redis import Redis

from worker.ledger.keys import Keys
from worker.ledger.records import to_ms
from worker.ledger.vault import KeptKey

#: How long a tombstone is kept.
KEPT_FOR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Tombstones:
    redis: Redis
    keys: Keys
    key: KeptKey

    def add(self, sub: str, now: datetime) -> None:
        """Note that this account was forgotten now, and remove what is older than `KEPT_FOR`."""
        with self.redis.pipeline() as pipeline:
            pipeline.zadd(self.keys.forgotten, {_hash(sub, self.key.take()): to_ms(now)})
            pipeline.zremrangebyscore(self.keys.forgotten, "-inf", to_ms(now - KEPT_FOR))
            pipeline.execute()

    def has(self, sub: str) -> bool:
        """Whether this account was forgotten; false, too, if no vault key can tell any more."""
        key = self.key.find()
        return key is not None and self.redis.zscore(self.keys.forgotten, _hash(sub, key)) is not None


def _hash(sub: str, key: bytes) -> bytes:
    return hmac.digest(key, sub.encode(), "sha256")[:16]
