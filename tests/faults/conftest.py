"""Fixtures of the fault tests in this process; a module that needs another sandbox has its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.faults.simulation import Simulation, simulated
from tests.faults.stage import Stage, staged


@pytest.fixture(scope="module", autouse=True)
def _no_keys_from_before(redis_url: str) -> None:
    """What looks through all keys would take longer with each test before it."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox with its mailbox, without rate limits, that generates nothing on its own."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0, generation_seconds=3600)) as sandbox:
        yield sandbox


@pytest.fixture
def stage_with(
    running: RunningSandbox,
    redis: Redis,
    redis_url: str,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Stage]]:
    """Returns a stage at the module's sandbox, with these settings."""
    with ExitStack() as stack:

        def begin(**settings: object) -> Stage:
            services = staged(running, redis, redis_url, prefix, tmp_path, monkeypatch, **settings)
            return stack.enter_context(services)

        yield begin


@pytest.fixture
def simulation(
    redis: Redis, redis_url: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulation]:
    """The whole program on simulated time, empty."""
    with simulated(redis, redis_url, prefix, tmp_path, monkeypatch) as simulation:
        yield simulation
