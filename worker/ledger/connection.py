"""A Redis client for callers who would rather fail than wait."""

from __future__ import annotations

from datetime import timedelta

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: How long to keep a person waiting for each step when Redis does not answer.
A_PERSONS_PATIENCE = timedelta(seconds=5)


def connect_once(url: str, patience: timedelta) -> Redis:
    """A client that tries once, and allows each step at most `patience`. It does not connect yet."""
    seconds = patience.total_seconds()
    return Redis.from_url(
        url, socket_connect_timeout=seconds, socket_timeout=seconds, retry=Retry(NoBackoff(), 0)
    )
