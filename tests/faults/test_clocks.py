"""A real fleet whose hosts' clocks disagree, or are set while it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.acceptance.harness import Fleet, running_fleet, zoom
from tests.acceptance.processes import Child
from tests.faults.clocks import LIBRARY, Clocks
from tests.faults.server import Server, running_server
from tests.waiting import wait_until

SETTINGS = {"SWEEP_EVERY": "1"}
ROLES = [
    "worker",
    "beat",
    pytest.param("server", marks=pytest.mark.skipif(not LIBRARY.exists(), reason="needs faketime")),
]


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> Clocks:
    return Clocks(tmp_path_factory.mktemp("clocks"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, clocks: Clocks) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server") / "redis"
    with running_server(home, env=os.environ | clocks.of_server()) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, server: Server, clocks: Clocks) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    with running_fleet(home, "worker", SETTINGS, server.url, more=clocks.of_process("worker")) as fleet:
        fleet.children.append(Child(home, fleet.env | clocks.of_process("beat"), fleet.log, "beat"))
        yield fleet


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("seconds", [-3600, -30, 6, 3600])
def test_events_are_settled_whatever_a_clock_says(
    fleet: Fleet, clocks: Clocks, server: Server, role: str, seconds: int, long: bool
) -> None:
    """One is set under the running fleet, and set right again: sweeps go on within seconds each time."""
    if not long and seconds not in {-3600, 6}:
        pytest.skip("other steps belong to the long form")
    person = fleet.person(zoom("pro_zoom"))
    for event_id, off in (("wrong", seconds), ("right", 0)):
        swept = server.client.get("reconciler:swept")
        clocks.set(role, off)
        wait_until(lambda: server.client.get("reconciler:swept") != swept, 8, 0.1, what="a sweep")  # noqa: B023
        person.write_and_track(event_id, "pro_zoom")
        person.outcome("assigned", event_id, 20)
