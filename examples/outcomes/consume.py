"""Read the reconciler's outcomes with a consumer group: none is lost, and each is processed once.

    python consume.py GROUP CONSUMER [--until-idle]

Several consumers of one group share the stream. If one dies before it acknowledges an outcome, another
takes it over after a minute. Needs only `redis`.
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
#: An outcome not acknowledged for this long goes to another consumer.
ABANDONED_MS = 60_000
#: How long to remember an outcome's id: an outcome may come twice, with the same id.
REMEMBER_SECONDS = 7 * 86_400


def work_on(outcome: dict[str, Any]) -> None:
    """Replace this with what your service does with an outcome."""
    print(outcome["type"], outcome["event_id"], outcome["cause"], json.dumps(outcome["detail"]), flush=True)


def consume(redis: Redis, group: str, consumer: str, *, until_idle: bool) -> None:
    """Process outcomes as they come; with `until_idle`, return once none is left."""
    try:
        # From the beginning of the stream; "$" would mean from now on.
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
    """Yield what others left behind, or else what is new; wait a moment if there is neither."""
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
