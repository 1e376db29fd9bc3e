"""The budget: one limiter for the whole fleet, per application and Cronofy origin, on Redis's clock.

Cronofy limits an application's requests per second and per minute (reference §8), and our users' own product
needs some of them. The rules are in ``budget.lua``.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.resources import files
from threading import Lock
from typing import Any
from uuid import uuid4

import structlog
from redis import Redis

from worker.cronofy.errors import CronofyError, OutOfBudget, ProbeTurn
from worker.ledger.keys import Keys
from worker.ledger.records import CLIENT_REFUSED, CRONOFY_FAILING, NO_BUDGET

#: Longer values of ``Retry-After`` are cut to this (contract §6).
LONGEST_RETRY_AFTER = timedelta(minutes=2)
#: "Retry now" right after a 429 is not believed.
SHORTEST_RETRY_AFTER = timedelta(seconds=1)

#: Good answers are reported this often; what fails, at once.
REPORT_EVERY = timedelta(seconds=5)
#: After as many 429s in a row, which stopped the fleet for a minute and more, there is no budget to be had.
MANY_STRIKES = 5

#: A look under way waits this long for room, since giving up would waste its earlier calls.
PATIENCE = timedelta(seconds=2)

log = structlog.get_logger()


class Budget:
    """Grants the fleet's calls to one Cronofy origin."""

    def __init__(
        self,
        redis: Redis,
        prefix: str,
        place: str,
        *,
        per_second: int,
        per_minute: int,
        share: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`place` names the application and origin; the limits are Cronofy's, `share` our part of them."""
        self._redis = redis
        self._place = place
        self._keys = Keys(prefix)
        self._second = max(1, int(per_second * share))
        self._minute = max(1, int(per_minute * share))
        self._jitter = jitter
        #: Calls that were answered well, and are not yet reported; since when; and whether to report at once.
        self._well, self._reported, self._trying = 0, time.monotonic(), False
        self._lock = Lock()
        self._script = redis.register_script((files("worker.cronofy") / "budget.lua").read_text())

    @property
    def largest(self) -> int:
        """The highest cost that can be granted at once."""
        return min(self._second, self._minute)

    def room(self, within: timedelta) -> int:
        """How many routine looks could make their first call `within` this time from now."""
        return int(self._run("room", self._second, self._minute, int(within.total_seconds() * 1000)))

    def take(
        self,
        cost: int = 1,
        *,
        look: str = "",
        made: int = 0,
        paid: int = 0,
        more: int = 0,
        kind: str = "",
        probing: bool = False,
    ) -> None:
        """Spend `cost` requests, or spend nothing and raise OutOfBudget with the time to wait.

        ProbeTurn if Cronofy refuses our client credentials and it is this caller's turn to retry them by a
        refresh. The other arguments are for `Spending`.
        """
        name = look or uuid4().hex
        answer = self._run(
            "take", cost, self._second, self._minute, name, made, paid, more, kind, int(probing)
        )
        if len(answer) == 1:
            return
        wait, why = answer[0], answer[1].decode()
        if why == "trying":
            self._trying = True
            return
        if why == "probe":
            raise ProbeTurn("It is this worker's turn to retry our client credentials.")
        reasons = {
            "paused": "Cronofy asked for a pause.",
            "refused": "Cronofy refuses our client id or secret.",
            "held": "An operator paused the fleet (reconciler pause).",
            "spent": "Our share of Cronofy's rate limit is used up.",
            "failing": "Most calls to Cronofy fail, so only few are made.",
        }
        raise OutOfBudget(reasons[why], retry_after=timedelta(milliseconds=wait), spent=why == "spent")

    def end(self, look: str, made: int, paid: int) -> None:
        """Return what a look paid for and did not use."""
        self._run("end", look, made, paid)

    def answered(self, well: int, badly: int, date: datetime | None = None) -> None:
        """Report how many calls were answered, and how many failed; a few good ones are reported together.

        `date` is what Cronofy's clock says now.
        """
        with self._lock:
            self._well += well
            late = time.monotonic() - self._reported >= REPORT_EVERY.total_seconds()
            if not (badly or self._trying or late) or not (badly or self._well):
                return
            well, self._well = self._well, 0
            self._reported, self._trying = time.monotonic(), False
        change = self._run("answered", well, badly, "" if date is None else date.timestamp())
        if change == 1:
            log.error("cronofy.failing", reason="most_calls_fail")
        elif change == 2:
            log.info("cronofy.well_again")

    def trouble(self) -> str | None:
        """Why nearly no call can be made at present: a kind of incident (`FLEET`), or None."""
        failing, refused, strikes = self._redis.mget(
            self._keys.budget_part(self._place, "failing"),
            self._keys.budget_part(self._place, "refused"),
            self._keys.budget_part(self._place, "strikes"),
        )
        if refused:
            return CLIENT_REFUSED
        if failing:
            return CRONOFY_FAILING
        return NO_BUDGET if int(strikes or 0) >= MANY_STRIKES else None

    def pause(self, asked: timedelta | None) -> None:
        """After a 429, stop the fleet as long as Cronofy asked, otherwise for growing, jittered pauses."""
        if asked is not None:
            asked = min(max(asked, SHORTEST_RETRY_AFTER), LONGEST_RETRY_AFTER)
        asked_ms = "" if asked is None else int(asked.total_seconds() * 1000)
        length = self._run("pause", asked_ms, self._jitter())
        if length:
            log.warning("budget.paused", seconds=length / 1000, reason="rate_limited")

    def refuse_client(self) -> None:
        """Cronofy refused our client credentials: stop all calls but one probe a minute; logged once."""
        self._redis.set(self._keys.budget_part(self._place, "probe"), 1, px=60_000)
        if self._redis.set(self._keys.budget_part(self._place, "refused"), 1, nx=True):
            log.error(
                "cronofy.client_refused",
                reason="invalid_client",
                mend="check RECONCILER_CRONOFY_CLIENT_ID and RECONCILER_CRONOFY_CLIENT_SECRET",
            )

    def accept_client(self) -> None:
        """A refresh succeeded: our client credentials work."""
        if self._redis.delete(self._keys.budget_part(self._place, "refused")):
            log.info("cronofy.client_accepted")

    def _run(self, *args: str | float) -> Any:
        keys = [self._keys.budget(self._place), self._keys.paused, self._keys.budgets]
        return self._script(keys=keys, args=list(args))


class Spending:
    """What one look may spend; not thread-safe.

    Its first call is granted only if all the calls it expects can be, and pays for them. Any further ones may
    come from the reserve.
    """

    def __init__(self, budget: Budget, expected: int, *, urgent: bool, probing: bool = False) -> None:
        """`expected` is the probable number of calls; `probing` calls even while our client is refused."""
        self.budget = budget
        self._more = max(0, expected - 1)
        self._kind = "urgent" if urgent else "routine"
        self._probing = probing
        self._look = uuid4().hex
        self._made = self._paid = 0
        #: Calls made, by the name of their counter.
        self.made: Counter[str] = Counter()
        #: When Cronofy gave its last answer, by its own clock and by our monotonic one.
        self.dated: tuple[datetime, float] | None = None

    def take(self, cost: int = 1, *, refresh: bool = False) -> None:
        """Spend as `Budget.take` does; an urgent look, or one under way, waits a moment for room.

        ProbeTurn is not raised for a `refresh`: that is the probe itself.
        """
        patience = PATIENCE.total_seconds()
        while True:
            try:
                self.budget.take(
                    cost,
                    look=self._look,
                    made=self._made,
                    paid=self._paid,
                    more=self._more,
                    kind=self._kind,
                    probing=self._probing,
                )
            except ProbeTurn:
                self._probing = True
                if not refresh:
                    raise
            except OutOfBudget as refused:
                wait = refused.retry_after.total_seconds() if refused.retry_after else 0.0
                if not refused.spent or self._kind == "routine" or wait > patience:
                    raise
                patience -= wait
                time.sleep(wait)
            else:
                break
        self._made += cost
        self._paid = max(self._paid, self._made + self._more)
        self._more, self._kind = 0, ""

    def pause(self, asked: timedelta | None) -> None:
        """After a 429, stop the whole fleet."""
        self.budget.pause(asked)

    @property
    def cronofys_time(self) -> datetime | None:
        """What Cronofy's clock says now, if it said so."""
        if self.dated is None:
            return None
        date, at = self.dated
        return date + timedelta(seconds=time.monotonic() - at)

    def end(self) -> None:
        """The look is over: return what it paid for and did not use."""
        if self._paid > self._made:
            self.budget.end(self._look, self._made, self._paid)
            self._paid = self._made


def rest_before(end: float, error: CronofyError) -> float | None:
    """Seconds to wait before a call that `error` put off is tried again; None if it would be after `end`.

    `end` is by the monotonic clock. For commands, which may wait for minutes: never more than five seconds at
    once, since the budget often has room sooner.
    """
    wait = error.retry_after.total_seconds() if error.retry_after else 1.0
    return None if time.monotonic() + wait > end else max(0.05, min(wait, 5.0))
