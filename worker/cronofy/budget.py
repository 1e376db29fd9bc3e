"""The budget: one limiter for the whole fleet, per application and Cronofy origin, on Redis's clock.

Cronofy grants an application so many requests in a second and in a minute (reference §8), and our
users' own product needs a part of them. The rules stand in ``budget.lua``.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from typing import Any
from uuid import uuid4

import structlog
from redis import Redis

from worker.cronofy.errors import OutOfBudget
from worker.ledger.keys import Keys

#: What ``Retry-After`` is believed at most (contract §6).
LONGEST_TOLD_PAUSE = timedelta(minutes=2)
#: "Retry now" after a refusal is not taken at its word.
SHORTEST_TOLD_PAUSE = timedelta(seconds=1)

#: For so long a look that has begun waits for room in the present second: else its calls were wasted.
PATIENCE = timedelta(seconds=2)

log = structlog.get_logger()


class Budget:
    """What the fleet may still ask of one Cronofy origin."""

    def __init__(
        self,
        redis: Redis,
        prefix: str,
        place: str,
        *,
        per_second: int,
        per_minute: int,
        share: float,
        promise: timedelta = timedelta(seconds=40),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`place` names the application and the origin that the limits are for.

        `per_second` and `per_minute` are Cronofy's limits; `share` is the part that is ours. `promise`
        is how long a look lasts at most: what it was promised is free again after it.
        """
        self._redis = redis
        self._place = place
        self._keys = Keys(prefix)
        self._second = max(1, int(per_second * share))
        self._minute = max(1, int(per_minute * share))
        self._promise_ms = int(promise.total_seconds() * 1000)
        self._jitter = jitter
        self._script = redis.register_script((files("worker.cronofy") / "budget.lua").read_text())

    @property
    def largest(self) -> int:
        """The highest cost that can ever be granted at once."""
        return min(self._second, self._minute)

    def room(self, within: timedelta) -> int:
        """How many looks that are not urgent could make their first call `within` so long from now."""
        return int(self._run("room", self._second, self._minute, int(within.total_seconds() * 1000)))

    def take(
        self,
        cost: int = 1,
        *,
        probe: bool = False,
        look: str = "",
        held: int = 0,
        more: int = 0,
        first: str = "",
    ) -> bool:
        """Spend `cost` requests, or raise OutOfBudget with the time to wait; nothing is spent then.

        Returns False, with nothing spent, where our own client credentials are refused and it is
        this caller's turn to find out, by a refresh with `probe`, whether they still are. The other
        arguments are a `Spending`'s.
        """
        answer = self._run(
            "take",
            cost,
            self._second,
            self._minute,
            uuid4().hex,
            "1" if probe else "",
            look,
            held,
            more,
            first,
            self._promise_ms,
        )
        if len(answer) == 1:
            return True
        wait, why = answer[0], answer[1].decode()
        if why == "probe":
            return False
        reasons = {
            "paused": "Cronofy asked for a pause.",
            "refused": "Cronofy refuses our client id or secret.",
            "held": "An operator paused the fleet (reconciler pause).",
            "spent": "The share of Cronofy's rate limit is used up.",
        }
        raise OutOfBudget(reasons[why], retry_after=timedelta(milliseconds=wait), spent=why == "spent")

    def end(self, look: str, held: int) -> None:
        """Give back what a look was promised and did not need."""
        self._run("end", look, held)

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
        self._redis.set(self._keys.budget_probe(self._place), 1, px=60_000)
        if self._redis.set(self._keys.budget_refused(self._place), 1, nx=True):
            log.error(
                "cronofy.client_refused",
                reason="invalid_client",
                mend="check RECONCILER_CRONOFY_CLIENT_ID and RECONCILER_CRONOFY_CLIENT_SECRET",
            )

    def accept_client(self) -> None:
        """A refresh succeeded: our client credentials work."""
        if self._redis.delete(self._keys.budget_refused(self._place)):
            log.info("cronofy.client_accepted")

    def _run(self, *args: str | float) -> Any:
        keys = [self._keys.budget(self._place), self._keys.paused, self._keys.budgets]
        return self._script(keys=keys, args=list(args))


class Spending:
    """What one look may spend.

    Its first call is only granted where all that the look expects to need can be; the rest is then
    promised to it. Whatever it turns out to need beyond, it may take from the reserve. Not to be
    shared between threads.
    """

    def __init__(self, budget: Budget, expected: int, *, urgent: bool) -> None:
        """`expected` is how many calls the look will make, as far as can be foreseen."""
        self.budget = budget
        self._more = max(0, expected - 1)
        self._first = "urgent" if urgent else "routine"
        self._look = uuid4().hex
        self._held = 0
        #: The calls that were made, by the names of their counters.
        self.made: Counter[str] = Counter()

    def take(self, cost: int = 1, *, probe: bool = False) -> bool:
        """Spend as `Budget.take` does; a look that has begun, or is urgent, waits for it a moment."""
        patience = PATIENCE.total_seconds()
        while True:
            try:
                granted = self.budget.take(
                    cost, probe=probe, look=self._look, held=self._held, more=self._more, first=self._first
                )
            except OutOfBudget as refused:
                wait = refused.retry_after.total_seconds() if refused.retry_after else 0.0
                if not refused.spent or self._first == "routine" or wait > patience:
                    raise
                patience -= wait
                time.sleep(wait)
                continue
            if granted:
                self._held = self._more if self._first else max(0, self._held - cost)
                self._more, self._first = 0, ""
            return granted

    def end(self) -> None:
        """The look is over: give back what it was promised and did not need."""
        if self._held:
            self.budget.end(self._look, self._held)
            self._held = 0
