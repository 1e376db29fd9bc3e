"""A log of every API request, and Cronofy's rate limits on them (§8)."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.world.world import LOG_LENGTH


@dataclass(slots=True)
class LoggedRequest:
    """One request as it arrived; `status` stays 0 until it is answered."""

    method: str
    path: str
    query: str
    sub: str | None
    #: What it costs against the limits: the number of a batch's items, otherwise 1.
    cost: int
    status: int = 0
    #: Seconds since the epoch, and seconds of a monotonic clock.
    ts: float = field(default_factory=time.time)
    monotonic: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Window:
    """The exact cost of the requests admitted within the last `seconds`."""

    seconds: float
    passed: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def wait(self, cost: int, limit: int, now: float) -> float:
        """Return the seconds until `cost` fits under `limit`: 0 for now, infinity for never."""
        self.move(now)
        excess = self.total + cost - limit
        if excess <= 0 or limit == 0:
            return 0.0
        for at, passed in self.passed:
            excess -= passed
            if excess <= 0:
                return at + self.seconds - now
        return math.inf

    def move(self, now: float) -> None:
        """Forget what is no longer within it."""
        while self.passed and self.passed[0][0] <= now - self.seconds:
            self.total -= self.passed.popleft()[1]

    def take(self, cost: int, now: float) -> None:
        self.passed.append((now, cost))
        self.total += cost


class Traffic:
    """The log of requests and the limiter. All times are `time.monotonic()` seconds."""

    def __init__(self) -> None:
        self.log: deque[LoggedRequest] = deque(maxlen=LOG_LENGTH)
        self._second = Window(1.0)
        self._minute = Window(60.0)

    def admit(self, request: LoggedRequest, per_second: int, per_minute: int) -> float:
        """Admit the request and return 0, or return the seconds until it may be retried.

        A limit of 0 means no limit. A refused request costs nothing.
        """
        now = request.monotonic
        wait = max(
            self._second.wait(request.cost, per_second, now), self._minute.wait(request.cost, per_minute, now)
        )
        if wait == 0:
            self._second.take(request.cost, now)
            self._minute.take(request.cost, now)
        return wait

    def rates(self) -> dict[str, int]:
        """Return the highest cost that arrived in any sliding second and minute.

        Includes refused requests, since they were sent; excludes 401s, which Cronofy does not count (§7).
        """
        counted = [(r.monotonic, r.cost) for r in self.log if r.status != 401]
        return {"max_per_second": _highest(counted, 1.0), "max_per_minute": _highest(counted, 60.0)}

    def requests(self, path: str = "") -> list[dict[str, Any]]:
        """Return the requests whose path contains `path`, oldest first."""
        return [asdict(r) for r in self.log if path in r.path]


def _highest(arrivals: list[tuple[float, int]], seconds: float) -> int:
    window, highest = Window(seconds), 0
    for at, cost in arrivals:
        window.move(at)
        window.take(cost, at)
        highest = max(highest, window.total)
    return highest
