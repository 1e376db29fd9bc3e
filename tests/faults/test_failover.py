"""The primary moves to another server under a working fleet: by Sentinel, or behind one name."""

from __future__ import annotations

import contextlib
import json
import random
import time
from pathlib import Path
from typing import Any

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tests.acceptance.harness import Caller, Fleet
from tests.faults.fleets import fleet_of_roles
from tests.faults.population import Population
from tests.faults.record import Record
from tests.faults.replication import SERVICE, Name, Pair, Sentinels, replicated, watched
from tests.faults.test_redis import check_all_run, half_busy
from tests.waiting import wait_until

#: How long the fleet may take once there is a primary again.
LONGEST = 15.0


def _until_answered(fleet: Fleet) -> float:
    """Seconds until a worker answers a question asked from now on."""
    begun = time.monotonic()

    def answers() -> bool:
        check_all_run(fleet)
        with contextlib.suppress(AssertionError, OperationalError, RedisError):
            task_id = fleet.caller.begin("explain", sub="nobody", calendar_id="none", event_id="none")
            return wait_until(lambda: fleet.answered(task_id), 1.5, 0.05)
        return False

    wait_until(answers, 90, 0.05, what="a fleet that answers")
    return time.monotonic() - begun


def _send_some(tracking: Any, count: int) -> None:
    for _ in range(count):
        next(tracking, None)


def test_sentinel_moves_the_primary_under_a_half_busy_fleet(
    tmp_path: Path, long: bool, seed: int, record: Record
) -> None:
    """The fleet follows by itself; the old primary comes back as a replica; nothing else is noticed."""
    dice = random.Random(seed)
    people, events, kills = (12, 10, 10) if long else (4, 4, 1)
    with (
        replicated(tmp_path / "servers") as pair,
        watched(tmp_path / "sentinels", pair) as sentinels,
        contextlib.closing(sentinels.client()) as redis,
        fleet_of_roles(
            tmp_path / "fleet", ledger=sentinels.url(), redis=redis, caller=_caller(sentinels)
        ) as fleet,
    ):
        population = Population.of(fleet, people, events)
        tracking = population.track()
        table = []
        for _ in range(kills):
            _send_some(tracking, len(population) // kills)
            slow = half_busy(fleet, dice.randint(1, 3))
            time.sleep(dice.uniform(0, 0.5))
            begun = time.monotonic()

            pair.primary.kill()
            old = pair.primary.port
            wait_until(lambda old=old: sentinels.primary_port() not in {None, old}, 60, what="a new primary")  # type: ignore[misc]
            moved = time.monotonic() - begun
            pair.swap()
            back = moved + _until_answered(fleet)

            pair.replica.start()
            wait_until(pair.is_followed, 60, 0.1, what="the old primary as a replica")
            check_all_run(fleet)
            for person in slow:
                person.outcome("assigned", "slow", 60)
            again = population.send_again()
            table.append((moved, back, again))
            print(f"failover {moved:5.1f} s, back after {back:5.1f} s, sent again {again}")
        list(tracking)
        population.relink()
        again = population.send_again()
        result = population.settle(120)

        result.enter(record, "Sentinel moves the primary (kill -9 of the old one)", kills, len(population))
        print(f"{len(population)} events, {result}")
        assert all(back - moved < LONGEST for moved, back, _ in table)
        assert (result.lost, result.doubled) == (0, 0)
        _check_log(fleet)


def test_the_primary_moves_behind_one_name(tmp_path: Path, long: bool, seed: int, record: Record) -> None:
    """The old primary lives on as a replica, with all connections to it; the fleet leaves it all the same."""
    dice = random.Random(seed)
    people, events, moves = (12, 10, 10) if long else (4, 4, 1)
    with (
        replicated(tmp_path / "servers") as pair,
        contextlib.closing(Name(pair.primary.port)) as name,
        fleet_of_roles(tmp_path / "fleet", ledger=name.url) as fleet,
    ):
        population = Population.of(fleet, people, events)
        tracking = population.track()
        table = []
        for _ in range(moves):
            _send_some(tracking, len(population) // moves)
            half_busy(fleet, dice.randint(1, 3))

            _move(pair, name)
            fleet.caller.close()
            fleet.caller = Caller(name.url)
            back = _until_answered(fleet)

            wait_until(pair.is_followed, 20, 0.1, what="the old primary as a replica")
            again = population.send_again()
            table.append((back, again))
            print(f"back after {back:5.1f} s, sent again {again}")
        list(tracking)
        population.relink()
        population.send_again()
        result = population.settle(120)

        result.enter(
            record, "The primary moves behind one name (the old one stays up)", moves, len(population)
        )
        print(f"{len(population)} events, {result}")
        assert all(back < LONGEST for back, _ in table)
        assert (result.lost, result.doubled) == (0, 0)
        _check_log(fleet)


def _caller(sentinels: Sentinels) -> Caller:
    options = {"master_name": SERVICE}
    return Caller(
        sentinels.celery_url, broker_transport_options=options, result_backend_transport_options=options
    )


def _move(pair: Pair, name: Name) -> None:
    """As a managed Redis does in a planned failover."""
    pair.replica.client.replicaof("no", "one")
    pair.primary.client.replicaof("127.0.0.1", str(pair.replica.port))
    pair.swap()
    name.target = pair.primary.port


def _check_log(fleet: Fleet) -> None:
    """A server that takes no writes is an outage, not an error."""
    check_all_run(fleet)
    lines = [json.loads(line) for line in fleet.log.read_text().splitlines() if line.startswith("{")]
    # Celery says of each try to connect that it failed.
    wrong = [
        line for line in lines if line["level"] in {"error", "critical"} and "connect to" not in line["event"]
    ]
    assert wrong == []
