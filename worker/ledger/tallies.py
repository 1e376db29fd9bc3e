"""What the ledger counts for the metrics besides events and outcomes: calls, and how long things took.

All of it is in the counters hash. A histogram is one counter per bucket (not cumulative) and one for the
sum in milliseconds; its count is the sum of its buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from redis import Redis

from worker.ledger.keys import Keys


@dataclass(frozen=True, slots=True)
class Histogram:
    """How durations are counted; `bounds` are its buckets' upper ends in seconds, plus an open last one."""

    name: str
    bounds: tuple[float, ...]

    def entry(self, milliseconds: float) -> tuple[str, int]:
        """The counter of the bucket that a duration falls into, and what it adds to the sum."""
        return self._bucket_name(self.bucket(milliseconds)), max(0, round(milliseconds))

    def bucket(self, milliseconds: float) -> int:
        """Which bucket a duration falls into."""
        return bisect_left(self.bounds, milliseconds / 1000)

    @property
    def sum_name(self) -> str:
        """The counter of the sum."""
        return f"{self.name}:ms"

    def read(self, counters: Mapping[str, int]) -> tuple[list[tuple[str, int]], float]:
        """The buckets as Prometheus wants them, cumulative by upper bound, and the sum in seconds."""
        total, buckets = 0, []
        for at, bound in enumerate((*self.bounds, None)):
            total += counters.get(self._bucket_name(at), 0)
            buckets.append(("+Inf" if bound is None else f"{bound:.10g}", total))
        return buckets, counters.get(self.sum_name, 0) / 1000

    def _bucket_name(self, at: int) -> str:
        return f"{self.name}:{self.bounds[at]:.10g}" if at < len(self.bounds) else f"{self.name}:more"


#: A look, from its first call to Cronofy to its commit.
LOOKS = Histogram("look", (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30))
#: An event, from when it was tracked to when it was settled: 10 s to a week.
SETTLES = Histogram("settle", (10, 30, 60, 120, 300, 900, 3600, 14_400, 86_400, 259_200, 604_800))

#: Statuses counted one by one; others count by class, so that an answer cannot invent labels.
STATUSES = frozenset({200, 202, 204, 400, 401, 402, 403, 404, 410, 422, 423, 429, 500, 502, 503, 504})
CALL = "call"


def call_name(endpoint: str, status: int | str) -> str:
    """The counter of calls to this endpoint that ended with this status, or why there was none."""
    if isinstance(status, int) and status not in STATUSES:
        status = f"{status // 100}xx" if 100 <= status < 600 else "other"
    return f"{CALL}:{endpoint}:{status}"


def answers(calls: Mapping[str, int]) -> tuple[int, int]:
    """How many of these calls (by their counters) Cronofy answered, and how many it failed to; no 429."""
    well = badly = 0
    for name, made in calls.items():
        status = name.rpartition(":")[2]
        if status in ("unreachable", "timeout") or status.startswith("5"):
            badly += made
        elif status != "429":
            well += made
    return well, badly


def look_tally(calls: Mapping[str, int], seconds: float) -> dict[str, int]:
    """What one look adds to the counters: its calls, and how long it took."""
    bucket, took = LOOKS.entry(seconds * 1000)
    return {**calls, bucket: 1, LOOKS.sum_name: took}


def add(redis: Redis, keys: Keys, tally: Mapping[str, int]) -> None:
    """Add a tally to the counters, in one round trip."""
    with redis.pipeline(transaction=False) as pipeline:
        for name, by in tally.items():
            pipeline.hincrby(keys.counters, name, by)
        pipeline.execute()
