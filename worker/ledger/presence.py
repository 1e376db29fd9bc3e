"""Which workers there are: each says so now and then, and is forgotten when it no longer does."""

from __future__ import annotations

import json
from collections.abc import Iterable

from redis import Redis

from worker.ledger.lua import Scripts


def announce(redis: Redis, prefix: str, name: str, queues: Iterable[str]) -> None:
    """A worker of this name is there, and takes from these queues."""
    Scripts(redis, prefix).run("seen", json.dumps({"name": name, "queues": sorted(queues)}))
