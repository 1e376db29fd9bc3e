"""How far a Redis is from here: its round trip, and by how much this host's clock is off."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from redis import Redis

from worker.ledger.connection import server_time

#: Any slower, and claims and commits take longer than the calls to Cronofy between them.
SLOW = timedelta(milliseconds=50)
#: So slow that workers and beat cannot be expected to report in time.
CRAWLING = timedelta(milliseconds=500)
#: With more, times in logs and emails would mislead.
MOST_SKEW = timedelta(seconds=2)
TIMES = 3


@dataclass(frozen=True, slots=True)
class Distance:
    round_trip: timedelta
    #: By how much this host's clock is ahead of the server's.
    ahead: timedelta

    @property
    def is_slow(self) -> bool:
        """Whether the server slows everything down."""
        return self.round_trip > SLOW

    @property
    def is_crawling(self) -> bool:
        """Whether nothing can be expected of those that report to it."""
        return self.round_trip > CRAWLING

    @property
    def clocks_differ(self) -> bool:
        """Whether the clocks differ, however long the server took to say what its own is."""
        return abs(self.ahead) - self.round_trip > MOST_SKEW


def measure(redis: Redis) -> Distance:
    """Ask the server for its time; RedisError if it is away."""
    spans, aheads = [], []
    for _ in range(TIMES):
        # Not PING, which a server without disk refuses.
        before, begun = time.time(), time.perf_counter()
        there = server_time(redis).timestamp()
        spans.append(time.perf_counter() - begun)
        # The server read its clock in between.
        aheads.append(before + spans[-1] / 2 - there)
    return Distance(timedelta(seconds=median(spans)), timedelta(seconds=median(aheads)))
