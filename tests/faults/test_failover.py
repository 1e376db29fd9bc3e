"""The primary moves to another server under a working fleet: by Sentinel, or behind one name."""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import ReadOnlyError, RedisError

from tests.acceptance.harness import INTAKE, Caller, Fleet
from tests.faults.fleets import fleet_of_roles
from tests.faults.population import Population
from tests.faults.record import Record
from tests.faults.replication import SERVICE, Name, Pair, Sentinels, replicated, watched
from tests.faults.test_redis import check_all_run, half_busy
from tests.waiting import wait_until
from worker.ledger.connection import connect_once

#: How long the fleet may take once there is a primary again.
LONGEST = 15.0
PATIENCE = timedelta(seconds=5)


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


def test_a_client_leaves_a_server_that_is_a_replica_now(tmp_path: Path) -> None:
    """One command is refused; the next one goes where the name leads."""
    with (
        replicated(tmp_path / "servers") as pair,
        contextlib.closing(Name(pair.primary.port)) as name,
        contextlib.closing(connect_once(name.url, PATIENCE)) as client,
    ):
        client.set("key", 1)
        _move(pair, name)

        with pytest.raises(ReadOnlyError):
            client.set("key", 2)
        assert client.set("key", 3)
        assert client.info("server")["tcp_port"] == pair.primary.port


def test_a_client_follows_sentinel_to_the_new_primary(tmp_path: Path) -> None:
    """The ledger's client as the program makes it, and a caller's message, once the old primary is gone."""
    with (
        replicated(tmp_path / "servers") as pair,
        watched(tmp_path / "sentinels", pair) as sentinels,
        contextlib.closing(connect_once(sentinels.url(), PATIENCE)) as client,
        contextlib.closing(_caller(sentinels)) as caller,
    ):
        client.set("key", 1)
        caller.send("track")
        wait_until(lambda: pair.replica.client.llen(INTAKE) == 1, 10, what="the message on the replica")

        pair.primary.kill()
        wait_until(lambda: sentinels.primary_port() == pair.replica.port, 60, what="a new primary")
        pair.swap()

        def writes() -> bool:
            with contextlib.suppress(RedisError):
                return bool(client.set("key", 2))
            return False

        wait_until(writes, LONGEST, 0.1, what="a write that is taken")
        assert pair.primary.client.get("key") == b"2"
        caller.send("track")
        assert pair.primary.client.llen(INTAKE) == 2


@dataclass(slots=True)
class Moves:
    """What each move of the primary cost, printed as a row of docs/reliability.md."""

    population: Population
    moves: int
    #: Seconds from there being a new primary to the fleet's answer.
    behind: list[float] = field(default_factory=list)
    _tracking: Iterator[Any] = field(init=False)
    _redone: int = 0

    def __post_init__(self) -> None:
        """Nothing is tracked yet."""
        self._tracking = self.population.track()
        print("| | new primary after s | fleet answers after s | events | lost | doubled |")

    def send_half(self) -> None:
        """Track half of what one move gets, or less if nothing is left."""
        for _ in range(len(self.population) // self.moves // 2):
            next(self._tracking, None)

    def over(self, moved: float, back: float) -> None:
        """Note one move's end; callers send again what is lost."""
        self.behind.append(back - moved)
        lost = self.population.send_again()
        before, self._redone = self._redone, self.population.result().redone
        row = (f"{moved:.1f}", f"{back:.1f}", len(self.population.sent), lost, self._redone - before)
        print(f"| {len(self.behind)} | {' | '.join(map(str, row))} |")

    def check(self, fault: str, record: Record) -> None:
        """The rest is tracked, everybody reconnects, and every event ends well, once."""
        for _ in self._tracking:
            pass
        self.population.relink()
        self.population.send_again()
        result = self.population.settle(120)
        result.enter(record, fault, self.moves, len(self.population))
        assert max(self.behind) < LONGEST
        assert (result.lost, result.doubled) == (0, 0)
        assert result.repeated_mails <= self.moves
        _check_log(self.population.fleet)


def test_sentinel_moves_the_primary_under_a_half_busy_fleet(
    tmp_path: Path, long: bool, seed: int, record: Record
) -> None:
    """The fleet follows by itself; the old primary comes back as a replica; nothing else is noticed."""
    if not long:
        pytest.skip("this belongs to the long form; a client's part is shown above")
    dice = random.Random(seed)
    people, events, kills = 12, 10, 10
    with (
        replicated(tmp_path / "servers") as pair,
        watched(tmp_path / "sentinels", pair) as sentinels,
        contextlib.closing(sentinels.client()) as redis,
        fleet_of_roles(
            tmp_path / "fleet", ledger=sentinels.url(), redis=redis, caller=_caller(sentinels)
        ) as fleet,
    ):
        moves = Moves(Population.of(fleet, people, events), kills)
        for _ in range(kills):
            moves.send_half()
            slow = half_busy(fleet, dice.randint(1, 3))
            moves.send_half()
            begun = time.monotonic()

            pair.primary.kill()
            wait_until(lambda: sentinels.primary_port() == pair.replica.port, 60, what="a new primary")
            moved = time.monotonic() - begun
            pair.swap()
            back = moved + _until_answered(fleet)

            pair.replica.start()
            wait_until(
                lambda: pair.is_led_by(sentinels.primary_port()), 60, 0.1, what="the old primary as a replica"
            )
            for person in slow:
                person.outcome("assigned", "slow", 60)
            moves.over(moved, back)
        moves.check("Sentinel moves the primary (kill -9 of the old one)", record)


def test_the_primary_moves_behind_one_name(tmp_path: Path, long: bool, seed: int, record: Record) -> None:
    """The old primary lives on as a replica, with all connections to it; the fleet leaves it all the same."""
    if not long:
        pytest.skip("this belongs to the long form; a client's part is shown above")
    dice = random.Random(seed)
    people, events, times = 12, 10, 10
    with (
        replicated(tmp_path / "servers") as pair,
        contextlib.closing(Name(pair.primary.port)) as name,
        fleet_of_roles(tmp_path / "fleet", ledger=name.url) as fleet,
        contextlib.ExitStack() as callers,
    ):
        moves = Moves(Population.of(fleet, people, events), times)
        for number in range(times):
            moves.send_half()
            slow = half_busy(fleet, dice.randint(1, 3))
            moves.send_half()

            _move(pair, name)
            # A caller has its own Celery, which stays where it is, and other pools under another name.
            options = {"client_name": f"caller-{number}"}
            fleet.caller = Caller(name.url, broker_transport_options=options)
            callers.callback(fleet.caller.close)
            back = _until_answered(fleet)

            wait_until(pair.is_followed, 20, 0.1, what="the old primary as a replica")
            for person in slow:
                person.outcome("assigned", "slow", 60)
            moves.over(0, back)
        moves.check("The primary moves behind one name, and the old one stays up", record)


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
    """A server that is a replica now is an outage, not an error."""
    check_all_run(fleet)
    log = fleet.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    wrong = [json.dumps(line) for line in lines if line["level"] in {"error", "critical"}]
    assert [line for line in wrong if re.search("READONLY|read.?only|MASTERDOWN|UNBLOCKED", line, re.I)] == []
    assert "look.crashed" not in log
