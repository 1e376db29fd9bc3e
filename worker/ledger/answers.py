"""Answers that one process waits for and another gives: secrets, sealed, and gone within half a minute."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from redis import Redis

from worker.ledger.keys import Keys
from worker.ledger.vault import Vault

_PLACE = "answer"
_KEPT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Answers:
    redis: Redis
    keys: Keys
    vault: Vault

    def give(self, answer_id: str, answer: Mapping[str, str]) -> None:
        """Give the answer to whoever waits for it."""
        key = self.keys.answer(answer_id)
        sealed = self.vault.seal(json.dumps(answer).encode(), _PLACE, answer_id)
        with self.redis.pipeline() as pipe:
            pipe.rpush(key, sealed)
            pipe.expire(key, _KEPT_SECONDS)
            pipe.execute()

    def take(self, answer_id: str, patience: timedelta) -> Mapping[str, str] | None:
        """Wait for the answer; None if it does not come in time."""
        key = self.keys.answer(answer_id)
        found = cast("tuple[bytes, bytes] | None", self.redis.blpop([key], timeout=patience.total_seconds()))
        if found is None:
            return None
        answer: Mapping[str, str] = json.loads(self.vault.open(found[1], _PLACE, answer_id))
        return answer
