"""The soak's faults and their schedule; the soak itself is `make soak`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.acceptance.harness import INTAKE, running_sandbox
from tests.acceptance.processes import environment
from tests.faults.chaos import FAULTS, Fault, Site, schedule
from tests.faults.clocks import Clocks
from tests.faults.crew import Crew
from tests.faults.server import Server, running_server
from tests.waiting import wait_until


def test_a_seed_gives_one_schedule_in_which_every_fault_has_its_turn() -> None:
    """In rounds, each in another order."""
    possible = {fault.label for fault in FAULTS if fault.needs.exists()}
    first, again, other = ([f.label for f in islice(schedule(n), 2 * len(possible))] for n in (4, 4, 5))

    assert first == again != other
    assert set(first[: len(possible)]) == set(first[len(possible) :]) == possible
    assert len({fault.label for fault in FAULTS}) == len(FAULTS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Servers and a sandbox, and nobody at work."""
    home = tmp_path_factory.mktemp("site")
    (home / "clocks").mkdir()
    clocks = Clocks(home / "clocks")
    with (
        running_server(home / "ledger") as ledger,
        running_server(home / "broker") as broker,
        running_sandbox() as sandbox,
    ):
        crew = Crew(home, home / "log", {"beat": (["beat"], environment(REDIS_URL=ledger.url))})
        yield Site(ledger, broker, clocks, crew, sandbox.control, home)


def refuses(server: Server) -> bool:
    try:
        with Redis.from_url(server.url, socket_timeout=0.3) as client:
            client.set("key", "value")
    except RedisError:
        return True
    return False


def _named(text: str) -> list[Fault]:
    return [fault for fault in FAULTS if text in fault.label]


@pytest.mark.parametrize(
    "fault", [*_named("The ledger "), *_named("The broker ")], ids=lambda fault: fault.label
)
def test_a_server_refuses_while_its_fault_lasts(site: Site, fault: Fault) -> None:
    server, other = (site.ledger, site.broker) if "ledger" in fault.label else (site.broker, site.ledger)
    with fault.lay(site, random.Random(1)):
        assert (refuses(server), refuses(other)) == (True, False)

    assert not refuses(server)


SEEN: list[tuple[str, Callable[[Site], object]]] = [
    ("Cronofy ", lambda site: site.control.faults()),
    ("Junk", lambda site: site.broker.client.llen(INTAKE)),
]


@pytest.mark.parametrize(("named", "seen"), SEEN, ids=[name.strip() for name, _ in SEEN])
def test_a_fault_outside_is_there_while_it_lasts(
    site: Site, named: str, seen: Callable[[Site], object]
) -> None:
    for fault in _named(named):
        with fault.lay(site, random.Random(1)):
            assert seen(site)
        assert not site.control.faults()


def test_a_crew_starts_again_what_was_killed(site: Site) -> None:
    with site.crew.on_duty():
        site.crew.start("beat")
        wait_until(lambda: b"beat.ready" in site.crew.log.read_bytes(), 20, what="beat")
        before = site.crew.pid("beat")
        [fault] = _named("Beat is killed")
        with fault.lay(site, random.Random(1)):
            wait_until(lambda: site.crew.pid("beat") != before, 10, what="another beat")
        assert site.crew.restarts == 1

    assert not site.crew.all_run()
