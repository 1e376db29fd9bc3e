"""Outcomes on their way to the task that wants them: in order, one process at a time, for a while."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.integration.world import Begin, World, beginning
from worker.run import delivery as outgoing
from worker.run import looks


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module, without rate limits, that generates at once."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0, generation_seconds=0)) as sandbox:
        yield sandbox


@pytest.fixture
def world(running: RunningSandbox, redis_url: str, prefix: str, tmp_path: Path) -> Iterator[World]:
    """A world with four outcomes: the account's first connect, and three assigned events."""
    begun: Iterator[Begin] = beginning(running, redis_url, prefix, tmp_path)
    for begin in begun:
        world = begin()
        for event_id in ("e1", "e2", "e3"):
            world.track(event_id)
        looks.reconcile_account(world.services, world.sub)
        yield world


def test_all_are_told_in_order_and_once(world: World) -> None:
    """The next call tells only what is new."""
    told: list[str] = []

    assert outgoing.deliver_outcomes(world.services, told.append) == 4
    assert outgoing.deliver_outcomes(world.services, told.append) == 0

    ids = [json.loads(outcome)["id"] for outcome in told]
    assert ids[1:] == [outcome["id"] for outcome in world.outcomes()]
    assert not outgoing.has_undelivered(world.services)


def test_while_one_tells_no_other_does(world: World) -> None:
    """The other has nothing to do."""
    others: list[int] = []

    def publish(_: str) -> None:
        others.append(outgoing.deliver_outcomes(world.services, lambda _: None))

    assert outgoing.deliver_outcomes(world.services, publish) == 4
    assert others == [0] * 4


def test_a_slow_broker_ends_a_turn_before_the_next_one_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left waits for the next wake-up, and nothing is told twice."""
    monkeypatch.setattr(outgoing, "DELIVERY_SECONDS", 0.5)
    told: list[str] = []

    def publish(outcome: str) -> None:
        time.sleep(0.3)
        told.append(outcome)

    first = outgoing.deliver_outcomes(world.services, publish)
    assert 1 <= first <= 2
    assert outgoing.has_undelivered(world.services)
    while outgoing.deliver_outcomes(world.services, publish):
        pass

    assert len(told) == len(set(told)) == 4
