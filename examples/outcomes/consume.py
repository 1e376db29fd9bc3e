"""Read the reconciler's outcomes with a consumer group: none is lost, and each is worked on once.

    python consume.py GROUP CONSUMER [--until-idle]

Several consumers of one group share the stream. What one of them took and never acknowledged, since it
died, another takes over after a minute. Needs nothing but `redis`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

LEDGER_URL = os.environ.get("BROKER_URL", "redis://localhost:6379/0")
STREAM = "reconciler:outcomes"
#: An outcome that was taken so long ago and not acknowledged is another's.
ABANDONED_MS = 60_000
#: How long ids of outcomes are remembered: one may come twice, with the same id.
REMEMBER_SECONDS = 7 * 86_400


def work_on(outcome: dict[str, Any]) -> None:
    """What your service does with it: here it is printed."""
    print(outcome["type"], outcome["event_id"], outcome["cause"], json.dumps(outcome["detail"]), flush=True)


def consume(redis: Redis, group: str, consumer: str, *, until_idle: bool) -> None:
    """Work on outcomes as they come; `until_idle` ends once there is none left."""
    try:
        # From the beginning of the stream; "$" would be: from now on.
        redis.xgroup_create(STREAM, group, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    while True:
        taken = list(_take(redis, group, consumer, wait_ms=500 if until_idle else 5_000))
        for entry_id, outcome in taken:
            seen = f"{group}:seen:{outcome['id']}"
            if not redis.exists(seen):
                work_on(outcome)
                redis.set(seen, 1, ex=REMEMBER_SECONDS)
            redis.xack(STREAM, group, entry_id)
        if until_idle and not taken:
            return


def _take(redis: Redis, group: str, consumer: str, wait_ms: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """What others left behind, then what is new; waits a moment where there is neither."""
    answer: Any = redis.xautoclaim(STREAM, group, consumer, ABANDONED_MS, count=100)
    entries = answer[1]
    if not entries:
        news: Any = redis.xreadgroup(group, consumer, {STREAM: ">"}, count=100, block=wait_ms)
        entries = [entry for _, found in news for entry in found]
    for entry_id, fields in entries:
        yield entry_id, json.loads(fields[b"outcome"])


if __name__ == "__main__":
    with Redis.from_url(LEDGER_URL) as ledger:
        consume(ledger, sys.argv[1], sys.argv[2], until_idle="--until-idle" in sys.argv)
