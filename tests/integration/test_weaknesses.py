"""What a worker says at its start of a Redis that may lose what is tracked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from worker.bootstrap import weaknesses


@contextmanager
def configured(redis: Redis, name: str, value: str) -> Iterator[None]:
    """The server with one setting changed, and put back."""
    before = str(redis.config_get(name)[name])
    redis.config_set(name, value)
    try:
        yield
    finally:
        redis.config_set(name, before)


def test_a_fit_server_has_none(redis: Redis) -> None:
    """The embedded server is as it should be."""
    assert weaknesses(redis) == ()


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        pytest.param("appendonly", "no", "set appendonly yes", id="nothing kept on disk"),
        pytest.param("maxmemory-policy", "allkeys-lru", "set noeviction", id="keys may be evicted"),
    ],
)
def test_an_unfit_server_is_named_with_its_mend(redis: Redis, name: str, value: str, mend: str) -> None:
    """Each weakness is one sentence that says what to set."""
    with configured(redis, name, value):
        (found,) = weaknesses(redis)

    assert mend in found
