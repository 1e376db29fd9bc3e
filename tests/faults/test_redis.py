"""A Redis that dies, comes back, or refuses writes, under a working fleet."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

import pytest

from tests.acceptance.harness import Fleet, Person, zoom
from tests.faults.fleets import fleet_of_roles
from tests.faults.population import Population
from tests.faults.record import Record
from tests.faults.server import Server, running_server
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Ledger, broker and results in one."""
    with running_server(tmp_path_factory.mktemp("server") / "redis") as running:
        yield running


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Fleet]:
    """A worker and beat on that server."""
    with fleet_of_roles(tmp_path_factory.mktemp("fleet"), ledger=server.url) as running:
        yield running


def check_all_run(fleet: Fleet) -> None:
    ended = [child.process.args for child in fleet.children if child.process.poll() is not None]
    assert not ended, (
        f"With Celery {version('celery')} and Kombu {version('kombu')}, these ended when Redis did: {ended}. "
        "The bounds on Celery in pyproject.toml rest on this test: no version that fails it may be allowed. "
        f"The log ends with:\n{fleet.log.read_text()[-3000:]}"
    )


def half_busy(fleet: Fleet, people: int) -> list[Person]:
    """Some of the pool's processes are in a look that takes seconds, the others are idle."""
    busy = [fleet.person(zoom("pro_zoom")) for _ in range(people)]
    for person in busy:
        slow = {"path_prefix": "/v1/events", "sub": person.sub}
        fleet.control.add_fault("slow", match=slow, seconds=1, times=1)
        person.write_and_track("slow", "pro_zoom")
    wait_until(
        lambda: all(fleet.requests(person.sub, path="/v1/events") for person in busy),
        20,
        what="a half-busy worker",
    )
    return busy


def test_redis_is_killed_and_restarted_under_ahalf_busy_worker(
    fleet: Fleet, server: Server, long: bool, seed: int, record: Record
) -> None:
    """Worker and beat carry on, and everything Redis acknowledged is restored from its AOF."""
    dice = random.Random(seed)
    people, events, kills = (12, 10, 6) if long else (6, 4, 1)
    population = Population.of(fleet, people, events)
    tracking = population.track()
    pids = [child.pid for child in fleet.children]
    slow: list[Person] = []
    for _ in range(kills):
        for _ in range(len(population) // kills):
            next(tracking, None)
        slow += half_busy(fleet, dice.randint(1, 3))
        known = set(server.client.scan_iter("reconciler:account:*"))

        server.kill()
        time.sleep(dice.uniform(0.1, 1.5))
        server.start()

        assert set(server.client.scan_iter("reconciler:account:*")) == known
        wait_until(lambda: _answers(fleet), 60, 0.1, what="a worker that answers")
        check_all_run(fleet)
    list(tracking)
    population.relink()
    again = population.send_again()
    result = population.settle(120)
    for person in slow:
        person.outcome("assigned", "slow", 60)

    check_all_run(fleet)
    assert [child.pid for child in fleet.children] == pids
    result.enter(
        record, "Redis is killed (kill -9) and restarted from its AOF", kills, len(population) + len(slow)
    )
    assert (result.lost, result.doubled) == (0, 0)
    assert again <= kills
    assert result.repeated_mails <= kills


def _answers(fleet: Fleet) -> bool:
    """Whether a worker answers a question soon."""
    check_all_run(fleet)
    task_id = fleet.caller.begin("explain", sub="nobody", calendar_id="none", event_id="none")
    with contextlib.suppress(AssertionError):
        return wait_until(lambda: fleet.answered(task_id), 3, 0.1)
    return False


def _full(server: Server) -> None:
    server.set(maxmemory="1mb")


def _read_only(server: Server) -> None:
    server.client.replicaof("127.0.0.1", "1")


def _alone(server: Server) -> None:
    server.set(min_replicas_to_write=1)


def _busy(server: Server) -> None:
    server.occupy()


def _fix(server: Server) -> None:
    server.release()
    server.set(maxmemory=0, min_replicas_to_write=0)
    server.client.replicaof("no", "one")


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        pytest.param(_read_only, "it is a read-only replica", id="a replica"),
        pytest.param(_full, "it is out of memory", id="full"),
        pytest.param(_busy, "it is busy with somebody's script", id="busy"),
        pytest.param(_alone, "it has too few replicas", id="too few replicas"),
    ],
)
def test_work_pauses_while_redis_takes_no_writes(
    fleet: Fleet, server: Server, long: bool, record: Record, refuse: Callable[[Server], None], reason: str
) -> None:
    """Each process logs the reason once; nothing is done or lost meanwhile; all resumes once fixed."""
    if refuse in {_alone, _busy} and not long:
        pytest.skip("busy, and too few replicas, belong to the long form")
    population = Population.of(fleet, 3, 30 if long else 8)
    tracking = population.track()
    for _ in range(len(population) // 2):
        next(tracking)
    wait_until(lambda: len(fleet.control.requests("/v1/events")) > 0, 15, what="a fleet at work")
    # These are queued when it begins.
    for _ in range(len(population) // 2):
        next(tracking)

    refuse(server)
    try:
        began = len(fleet.log.read_bytes())
        time.sleep(6 if long else 2)
        calls = len(fleet.control.requests("/v1/"))
        time.sleep(1)
        idle = len(fleet.control.requests("/v1/")) == calls
        log = fleet.log.read_bytes()[began:].decode()
    finally:
        _fix(server)
    population.relink()
    again = population.send_again()
    result = population.settle(120)

    result.enter(record, "Redis takes no writes (read-only, full, too few replicas)", 1, len(population))
    check_all_run(fleet)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    logged = [entry for entry in lines if entry["event"] == "redis.unavailable"]
    # A read that waits is told so when its server becomes a replica.
    assert {entry["reason"].partition(":")[0] for entry in logged} - {"its role has changed"} == {reason}
    # Worker, its pool and beat, each about either server at most.
    assert len(logged) <= 12
    # A result that could not be stored, of a task running just then.
    troubles = [entry for entry in lines if entry["level"] not in {"info", "warning"}]
    assert len(troubles) <= 8
    assert "look.crashed" not in fleet.log.read_text()
    assert idle
    assert again == 0
    assert (result.lost, result.doubled) == (0, 0)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The ledger's server, where the broker has its own."""
    with running_server(tmp_path_factory.mktemp("ledger") / "redis") as running:
        yield running


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("broker") / "redis") as running:
        yield running


@pytest.fixture(scope="module")
def fleet_on_two(tmp_path_factory: pytest.TempPathFactory, ledger: Server, broker: Server) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("two")
    with fleet_of_roles(home, ledger=ledger.url, broker=broker.url) as running:
        yield running


def test_ledger_and_broker_may_fail_one_without_the_other(
    fleet_on_two: Fleet, ledger: Server, broker: Server, record: Record
) -> None:
    """On two servers, either may be killed: the other keeps its data, and all resumes afterwards."""
    fleet = fleet_on_two
    population = Population.of(fleet, 3, 6)
    tracking = population.track()
    for _ in range(len(population) // 3):
        next(tracking)
    broker.kill()
    time.sleep(1)
    broker.start()
    for _ in range(len(population) // 3):
        next(tracking)
    ledger.kill()
    # Callers need only the broker.
    list(tracking)
    wait_until(
        lambda: "ledger" in {line["server"] for line in fleet.logged("redis.unavailable")},
        60,
        0.25,
        what="an outage that the client cannot bridge",
    )
    ledger.start()

    again = population.send_again()
    population.relink()
    result = population.settle(120)

    result.enter(record, "Ledger and broker on two servers: either is killed", 2, len(population))
    check_all_run(fleet)
    # The broker died once: the message that it had just handed to a worker is lost.
    assert again <= 1
    assert (result.lost, result.doubled) == (0, 0)


def test_intake_outlives_a_ledger_that_hangs(fleet_on_two: Fleet, ledger: Server, record: Record) -> None:
    """A task that its time limit ends meanwhile is not acknowledged: its message comes back."""
    began = len(fleet_on_two.log.read_bytes())
    population = Population.of(fleet_on_two, 3, 2)
    with ledger.frozen():
        list(population.track())
        wait_until(
            lambda: b"Hard time limit" in fleet_on_two.log.read_bytes()[began:],
            30,
            0.25,
            what="a task ended by its limit",
        )
    _check_nothing_was_lost(population, record, "The ledger hangs for longer than a task may run")


def test_intake_outlives_a_ledger_that_refuses(fleet_on_two: Fleet, ledger: Server, record: Record) -> None:
    """Whatever the refusal: here somebody's script keeps the server busy."""
    population = Population.of(fleet_on_two, 3, 20)
    with ledger.busy():
        list(population.track())
        time.sleep(2)
    _check_nothing_was_lost(population, record, "The ledger is busy with somebody's script")
    assert fleet_on_two.redis.xlen("reconciler:dead-letters") == 0


def _check_nothing_was_lost(population: Population, record: Record, fault: str) -> None:
    again = population.send_again()
    population.relink()
    result = population.settle(120)
    result.enter(record, fault, 1, len(population))
    assert again == 0
    assert (result.lost, result.doubled) == (0, 0)
