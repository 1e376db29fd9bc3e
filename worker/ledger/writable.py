"""Whether a Redis takes writes, found out by reads alone: a full one, or one without disk, still answers."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from worker.outage import FULL, READ_ONLY, takes_no_writes


def why_no_writes(redis: Redis) -> str | None:
    """Why this server takes no writes, as far as reads show it; None if it does. RedisError if it is away."""
    try:
        info: dict[str, Any] = redis.info()
    except NoPermissionError:
        # Nothing but our own commands would tell.
        info = {}
    if info.get("role") == "slave":
        return READ_ONLY
    limit, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    if limit and used - int(info.get("mem_not_counted_for_evict") or 0) > limit:
        return FULL
    try:
        # A server that cannot write to its disk refuses even this.
        redis.ping()
    except ResponseError as error:
        return takes_no_writes(error)
    return None
