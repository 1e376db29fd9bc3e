"""Fixtures of many of these tests; a module that needs another sandbox or world has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from sandbox.control.control import Control
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.integration.checked_fleet import CheckedFleet, healthy_fleet
from tests.integration.poison import QUICK
from tests.integration.world import Begin, beginning
from worker.host.embedded import embedded_server


@pytest.fixture(scope="module", autouse=True)
def _no_keys_from_before(redis_url: str) -> None:
    """What looks through all keys would take longer with each test before it."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module, without rate limits, that generates nothing on its own."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0, generation_seconds=3600)) as sandbox:
        yield sandbox


@pytest.fixture
def control(running: RunningSandbox) -> Control:
    """The control plane of the emptied sandbox."""
    running.control.reset()
    return running.control


@pytest.fixture
def begin(running: RunningSandbox, redis_url: str, prefix: str, tmp_path: Path) -> Iterator[Begin]:
    """Starts a world at the empty sandbox."""
    yield from beginning(running, redis_url, prefix, tmp_path)


@pytest.fixture
def many(long: bool) -> int:
    """How many events or accounts of one incident there are."""
    return 400 if long else 120


@pytest.fixture
def quick(begin: Begin, running: RunningSandbox) -> Begin:
    """Starts a world with frequent looks and plenty of budget, whose conferences come at once."""
    running.control.set_settings(generation_seconds=0)
    return lambda **settings: begin(**{**QUICK, **settings})


@pytest.fixture(scope="module")
def doctor_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for one module's doctor tests, which break it."""
    with embedded_server(tmp_path_factory.mktemp("doctor")) as url:
        yield url


@pytest.fixture
def fleet(doctor_server: str, running: RunningSandbox, prefix: str, tmp_path: Path) -> Iterator[CheckedFleet]:
    """A healthy fleet."""
    with healthy_fleet(doctor_server, running, prefix, tmp_path) as fleet:
        yield fleet
