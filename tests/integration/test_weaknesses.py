"""What a worker says at its start about a Redis that may lose data."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.ports import free_port
from tests.waiting import wait_until
from worker.bootstrap import weaknesses
from worker.host.embedded import find_binary


@contextmanager
def server(directory: Path, **settings: str) -> Iterator[Redis]:
    """A server with these settings on a free port, without persistence."""
    port = free_port()
    options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    command = [find_binary(), "--port", str(port), "--dir", str(directory), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with Redis(port=port) as client:
            wait_until(lambda: answers(client), what="the server to answer")
            yield client
    finally:
        process.terminate()
        process.wait(10)


def answers(client: Redis) -> bool:
    """Whether the server is up."""
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False


def test_a_good_server_has_no_weakness(redis: Redis) -> None:
    """The embedded server has none."""
    assert weaknesses(redis) == ()


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        pytest.param({"appendonly": "no"}, "set appendonly yes", id="nothing kept on disk"),
        pytest.param(
            {"appendonly": "yes", "maxmemory_policy": "allkeys-lru"},
            "set noeviction",
            id="keys may be evicted",
        ),
    ],
)
def test_each_weakness_is_named_with_its_fix(tmp_path: Path, settings: dict[str, str], fix: str) -> None:
    """Each weakness is one sentence saying what to set."""
    with server(tmp_path, **settings) as redis:
        (found,) = weaknesses(redis)

    assert fix in found
