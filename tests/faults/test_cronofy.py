"""Cronofy in trouble: what each broken answer leads to, and that everything recovers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from redis import Redis

from sandbox.server import RunningSandbox
from tests.contract.documents import ROOT
from tests.faults.record import Record
from tests.faults.stage import SWEEP, Stage, staged
from tests.faults.trouble import ROWS, Lay, Trouble, report
from tests.integration.world import NOW, World
from worker.ledger.outcomes import OutcomeType

FAULTS = [pytest.param(row, lay, id=f"{row.call}-{name}") for row in ROWS for name, lay in row.faults.items()]


@pytest.fixture(scope="module")
def stage(
    running: RunningSandbox, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The services that look at all accounts of this module."""
    data_dir = tmp_path_factory.mktemp("data")
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        Redis.from_url(redis_url) as redis,
        staged(running, redis, redis_url, "cronofy", data_dir, monkeypatch) as stage,
    ):
        yield stage


@pytest.mark.parametrize(("row", "lay"), FAULTS)
def test_a_fault_has_the_effects_in_its_row(stage: Stage, row: Trouble, lay: Lay, record: Record) -> None:
    """One look under the fault, then one without it: no wrong conclusion, and nothing is lost."""
    world = _prepared(stage, row)

    with lay(stage, world):
        stage.work(SWEEP)

    events = [stored.event for stored in stage.services.ledger.pending(world.sub)]
    done = [OutcomeType.REASSIGNED] * (len(events) - 1) if row.call == "an entry of a batch" else []
    logged = [line["event"] for line in stage.lines]
    assert sorted(world.types()) == sorted([*done, *([row.outcome] if row.outcome else [])])
    assert set(row.logged) <= set(logged)
    assert not {"look.crashed", "look.lease_lost"} & set(logged)
    # What is told to a person comes after what happened.
    noted = [[line[1:] for line in event.history if line[1] != "escalated"] for event in events]
    last = [lines[-1] if lines else None for lines in noted]
    assert sum(_fits(line, row.history) for line in last) >= len(events) - len(done)
    secrets = {world.account["access_token"], world.account["refresh_token"], "sandbox-secret"}
    assert not any(secret in repr([*stage.lines, last, world.outcomes()]) for secret in secrets)

    _recovered(stage, world, row)
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


def _recovered(stage: Stage, world: World, row: Trouble) -> None:
    """Once Cronofy works again, every event ends as though it always had."""
    if row.outcome is OutcomeType.ACCOUNT_LOST:
        world.connect()
    for _ in range(3):
        stage.let_time_pass(world.sub)
        stage.work(SWEEP)

    events = [stored.event for stored in stage.services.ledger.pending(world.sub)]
    writing = row.call in ("Update Event", "Batch", "an entry of a batch")
    expected = [row.outcome] if row.outcome else []
    written = len(events) - len(expected) if writing else 0
    assert sorted(world.types()) == sorted([*expected, *[OutcomeType.REASSIGNED] * written])
    assert {write["event_id"] for write in world.writes()} == {
        event.key.event_id for event in events if event.profile_id != world.profiles[0]
    }
    causes = ["generating"] * (len(events) - (len(expected) if writing else 0))
    assert sorted(event.cause or "" for event in events) == sorted(
        causes + ["profile_removed"] * (len(events) - len(causes))
    )
    assert {event.failures for event in events} == {0}


@pytest.mark.parametrize(
    ("moved", "hours"),
    [
        pytest.param("e3", 5, id="from the second page to the first"),
        pytest.param("e1", 60, id="from the first page to the second"),
        pytest.param("e4", 24 * 60, id="out of what is read"),
    ],
)
def test_an_event_that_moves_between_two_pages_is_written_once_as_it_stands(
    stage: Stage, moved: str, hours: float, record: Record
) -> None:
    """Neither it nor the event that slips between the pages counts as gone; neither is moved back."""
    world = stage.begin()
    world.control.set_settings(page_size=2)
    for number in range(1, 5):
        world.track(f"e{number}", hours=10 * number)
    world.control.remove_profile(world.sub, world.profiles[0])
    stage.let_time_pass(world.sub)
    start = NOW + timedelta(hours=hours)
    times = {"start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat()}

    with after_the_first_page(stage, lambda: world.control.move_event(world.calendar_id, moved, **times)):
        stage.work(SWEEP)
    for _ in range(2):
        stage.let_time_pass(world.sub)
        stage.work(SWEEP)

    assert world.types() == ["reassigned"] * 4
    assert sorted(write["event_id"] for write in world.writes()) == ["e1", "e2", "e3", "e4"]
    shown = datetime.fromisoformat(world.control.event(world.calendar_id, moved)["start"]["time"])
    assert shown == start
    record("An event moves between two pages of one read", injected=1, events=4)


@contextmanager
def after_the_first_page(stage: Stage, act: Callable[[], object]) -> Iterator[None]:
    """Do something once, between the first page's answer and the request for the next."""
    done: list[object] = []
    client = stage.services.looker.cronofy.http._http
    send = client.send

    def exchange(request: httpx.Request, **options: Any) -> httpx.Response:
        response = send(request, **options)
        response.read()
        if request.url.path == "/v1/events" and not done:
            done.append(act())
        return response

    with patch.object(client, "send", exchange):
        yield
    assert done


def test_the_documentation_has_the_table(pytestconfig: pytest.Config) -> None:
    """The page has what the rows are tested for; ``--document docs/reliability.md`` writes it."""
    if pytestconfig.getoption("--document"):
        pytest.skip("it is written at the end of this run")
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    table = report()

    assert f"<!-- {table.name} -->\n\n{table.markdown()}\n<!-- /{table.name} -->" in page
