"""The budget: one limiter for the whole fleet, per Cronofy origin, on Redis's clock.

Cronofy grants an application so many requests in a second and in a minute (reference §8), and our
users' own product needs a part of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from typing import Any
from uuid import uuid4

import structlog
from redis import Redis

from worker.cronofy.errors import OutOfBudget

#: What ``Retry-After`` is believed at most (contract §6).
LONGEST_TOLD_PAUSE = timedelta(minutes=2)
#: "Retry now" after a refusal is not taken at its word.
SHORTEST_TOLD_PAUSE = timedelta(seconds=1)

log = structlog.get_logger()


class Budget:
    """What the fleet may still ask of one Cronofy origin."""

    def __init__(
        self,
        redis: Redis,
        prefix: str,
        origin: str,
        *,
        per_second: int,
        per_minute: int,
        share: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`per_second` and `per_minute` are Cronofy's limits; `share` is the part that is ours."""
        self._redis = redis
        self._key = f"{prefix}:budget:{origin}"
        self._second = max(1, int(per_second * share))
        self._minute = max(1, int(per_minute * share))
        self._jitter = jitter
        self._script = redis.register_script((files("worker.cronofy") / "budget.lua").read_text())

    @property
    def largest(self) -> int:
        """The highest cost that can ever be granted at once."""
        return min(self._second, self._minute)

    def take(self, cost: int = 1, *, probe: bool = False) -> bool:
        """Spend `cost` requests, or raise OutOfBudget with the time to wait; nothing is spent then.

        Returns False, with nothing spent, where our own client credentials are refused and it is
        this caller's turn to find out, by a refresh with `probe`, whether they still are.
        """
        answer = self._run("take", cost, self._second, self._minute, uuid4().hex, "1" if probe else "")
        if len(answer) == 1:
            return True
        wait, why = answer[0], answer[1].decode()
        if why == "probe":
            return False
        reasons = {
            "paused": "Cronofy asked for a pause.",
            "refused": "Cronofy refuses our client id or secret.",
            "spent": "The share of Cronofy's rate limit is used up.",
        }
        raise OutOfBudget(reasons[why], retry_after=timedelta(milliseconds=wait))

    def pause(self, told: timedelta | None) -> None:
        """After a 429: stop the whole fleet for as long as told, or for growing, jittered pauses."""
        if told is not None:
            told = min(max(told, SHORTEST_TOLD_PAUSE), LONGEST_TOLD_PAUSE)
        told_ms = "" if told is None else int(told.total_seconds() * 1000)
        length = self._run("pause", told_ms, self._jitter())
        if length:
            log.warning("budget.paused", seconds=length / 1000, reason="rate_limited")

    def refuse_client(self) -> None:
        """Our client credentials were refused: stop calling, but for one try a minute; said once."""
        self._redis.set(f"{self._key}:probe", 1, px=60_000)
        if self._redis.set(f"{self._key}:refused", 1, nx=True):
            log.error(
                "cronofy.client_refused",
                reason="invalid_client",
                mend="check RECONCILER_CRONOFY_CLIENT_ID and RECONCILER_CRONOFY_CLIENT_SECRET",
            )

    def accept_client(self) -> None:
        """A refresh succeeded: our client credentials work."""
        if self._redis.delete(f"{self._key}:refused"):
            log.info("cronofy.client_accepted")

    def _run(self, *args: str | float) -> Any:
        return self._script(keys=[self._key], args=list(args))
