"""Cronofy in trouble: for each broken answer what is done, recorded, logged and told; then all goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from redis import Redis

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.faults.record import Record
from tests.faults.stage import SWEEP, Stage, staged
from tests.faults.trouble import ROWS, Lay, Trouble
from tests.integration.world import World
from worker.ledger.outcomes import OutcomeType

FAULTS = [pytest.param(row, lay, id=f"{row.call}-{name}") for row in ROWS for name, lay in row.faults.items()]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module, without rate limits, that generates nothing by itself."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0, generation_seconds=3600)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def stage(
    running: RunningSandbox, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Services with little patience."""
    data_dir = tmp_path_factory.mktemp("data")
    with (
        pytest.MonkeyPatch.context() as patch,
        Redis.from_url(redis_url) as redis,
        staged(running, redis, redis_url, "cronofy", data_dir, patch, http_timeout=0.3) as stage,
    ):
        yield stage


@pytest.mark.parametrize(("row", "lay"), FAULTS)
def test_a_fault_comes_to_what_its_row_says(stage: Stage, row: Trouble, lay: Lay, record: Record) -> None:
    """One look under the fault, then one without it: nothing wrong is concluded, and nothing is lost."""
    world = _prepared(stage, row)

    with lay(stage, world):
        stage.work(SWEEP)

    events = [stored.event for stored in stage.services.ledger.pending(world.sub)]
    done = [OutcomeType.REASSIGNED] * (len(events) - 1) if row.call == "an entry of a batch" else []
    logged = [line["event"] for line in stage.lines]
    assert sorted(world.types()) == sorted([*done, *([row.told] if row.told else [])])
    assert set(row.logged) <= set(logged)
    assert not {"look.crashed", "look.lease_lost"} & set(logged)
    last = [event.history[-1][1:] if event.history else None for event in events]
    assert sum(_fits(line, row.history) for line in last) >= len(events) - len(done)
    secrets = {world.account["access_token"], world.account["refresh_token"], "sandbox-secret"}
    assert not any(secret in repr([*stage.lines, last, world.outcomes()]) for secret in secrets)

    _mended(stage, world, row)
    record("Cronofy answers one call wrongly", injected=1, events=len(events))


def _prepared(stage: Stage, row: Trouble) -> World:
    """An account whose next look makes the call."""
    world = stage.begin()
    batch = row.call in ("Batch", "an entry of a batch")
    for event_id in ("e1", "e2", "e3") if batch else ("e1",):
        world.track(event_id)
    if batch or row.call == "Update Event":
        world.control.remove_profile(world.sub, world.profiles[0])
    if row.call == "a token's refresh":
        world.control.expire_access_token(world.sub)
    stage.let_time_pass(world.sub)
    return world


def _fits(line: tuple[str, str] | None, expected: tuple[str, str] | None) -> bool:
    if line is None or expected is None:
        return line == expected
    return line[0] == expected[0] and re.match(expected[1], line[1]) is not None


def _mended(stage: Stage, world: World, row: Trouble) -> None:
    """Once Cronofy is well again, every event ends as though it had always been."""
    if row.told is OutcomeType.ACCOUNT_LOST:
        world.connect()
    for _ in range(3):
        stage.let_time_pass(world.sub)
        stage.work(SWEEP)

    events = [stored.event for stored in stage.services.ledger.pending(world.sub)]
    writing = row.call in ("Update Event", "Batch", "an entry of a batch")
    told = [row.told] if row.told else []
    written = len(events) - len(told) if writing else 0
    assert sorted(world.types()) == sorted([*told, *[OutcomeType.REASSIGNED] * written])
    assert {write["event_id"] for write in world.writes()} == {
        event.key.event_id for event in events if event.profile_id != world.profiles[0]
    }
    causes = ["generating"] * (len(events) - (len(told) if writing else 0))
    assert sorted(event.cause or "" for event in events) == sorted(
        causes + ["profile_removed"] * (len(events) - len(causes))
    )
    assert {event.failures for event in events} == {0}
