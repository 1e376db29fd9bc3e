"""A fleet of version 0.1.0 is upgraded under load, and back: both versions use one ledger and one broker."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Fleet
from tests.acceptance.processes import Child, children_of
from tests.faults.fleets import fleet_of_roles
from tests.faults.population import Population
from tests.faults.record import Record
from tests.upgrades import make, old, stored
from tests.waiting import wait_until
from worker.ledger.layout import LAYOUT

#: Accounts and events of each phase; a third of the accounts' users have to act.
PEOPLE, EVENTS = 9, 12


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory, long: bool) -> Path:
    """The code of 0.1.0."""
    if not long:
        pytest.skip("a former version's code belongs to the long form")
    try:
        return old.unpack(old.V0_1_0, tmp_path_factory.mktemp("former"))
    except old.NoHistory as why:
        pytest.skip(f"the code of 0.1.0 is not here: {why}")


class Roll:
    """A fleet whose workers are replaced one by one, while callers go on."""

    def __init__(self, fleet: Fleet, former: Path, dice: random.Random) -> None:
        self._fleet, self._former, self._dice = fleet, former, dice
        self.old: list[Child] = []
        self.new: list[Child] = []
        #: Accounts that a killed worker may have been looking at.
        self.held: set[str] = set()
        #: The messages that 0.1.0's names held after the last kill.
        self.left: set[bytes] = set()
        self.kills = 0

    def start(self, workers: list[Child], role: str = "worker") -> Child:
        """Start a worker or beat, of 0.1.0 if it is one of `old`; returns once it works."""
        env = self._fleet.env | ({"PYTHONPATH": str(self._former)} if workers is self.old else {})
        word = f"{role}.ready".encode()
        before = self._fleet.log.read_bytes().count(word)
        child = Child(self._fleet.home, env, self._fleet.log, role)
        self._fleet.children.append(child)
        wait_until(lambda: self._fleet.log.read_bytes().count(word) > before, 60, what=f"a new {role}")
        if role == "worker":
            workers.append(child)
        return child

    def stop(self, workers: list[Child]) -> None:
        """End the eldest as a supervisor does."""
        assert workers.pop(0).end(60) == 0

    def kill(self, workers: list[Child], population: Population) -> None:
        """The eldest and its pool die while they work and hold messages."""
        redis: Any = self._fleet.redis
        victim = workers.pop(0)
        pool = children_of(victim.pid)
        self._fleet.control.add_fault("slow", match={"path_prefix": "/v1/events"}, seconds=0.5)
        wait_until(population.leased, 30, what="looks to start")
        if workers is self.old:
            wait_until(lambda: redis.hlen("unacked"), 30, what="messages to be held")
        self.held.update(population.leased())
        for pid in self._dice.sample([victim.pid, *pool], len(pool) + 1):
            os.kill(pid, signal.SIGKILL)
        victim.process.wait(5)
        self.held.update(population.leased())
        self.left = set(redis.hkeys("unacked"))
        self._fleet.control.clear_faults()
        self.kills += 1

    def wait_until_given_back(self) -> None:
        """Wait until the remaining workers took up what the last one that was killed held."""
        redis: Any = self._fleet.redis
        wait_until(lambda: not self.left.intersection(redis.hkeys("unacked")), 40, what="messages given back")


@pytest.fixture
def roll(former: Path, tmp_path: Path, seed: int) -> Iterator[tuple[Fleet, Roll]]:
    with fleet_of_roles(tmp_path) as fleet:
        # The ledger begins with 0.1.0.
        fleet.end()
        fleet.children.clear()
        fleet.redis.flushall()
        yield fleet, Roll(fleet, former, random.Random(seed))


def test_a_fleet_is_upgraded_and_rolled_back_under_load(roll: tuple[Fleet, Roll], record: Record) -> None:
    """Workers are replaced one by one, some of them killed (kill -9), while events are tracked.

    Nothing is lost, and nothing done twice except by an account that a killed process was holding.
    """
    fleet, workers = roll
    old_ones, new_ones = workers.old, workers.new
    phases: list[tuple[str, int, Population]] = []
    #: Whether the ledger had its number after each phase.
    numbered: list[bool] = []

    def phase(name: str, *steps: Callable[[Population], object]) -> None:
        """Track this phase's events, with its steps in between."""
        population, left = Population.of(fleet, PEOPLE, EVENTS), list(steps)
        every = len(population) // (len(steps) + 1)
        before = len(old_ones), len(new_ones)
        for number, _ in enumerate(population.track(), start=1):
            if left and number % every == 0:
                left.pop(0)(population)
        numbered.append(bool(fleet.redis.hexists("reconciler:about", "layout")))
        olds, news = (f"{was} → {len(now)}" for was, now in zip(before, (old_ones, new_ones), strict=True))
        phases.append((f"{name} (workers of 0.1.0: {olds}, new: {news})", len(steps), population))

    for _ in range(2):
        workers.start(old_ones)
    beat = workers.start(old_ones, "beat")

    phase("Before the upgrade")
    phase("Rolling out", lambda _: workers.start(new_ones), lambda people: workers.kill(old_ones, people))
    next_beat = workers.start(new_ones, "beat")
    beat.end()
    phase("Rolling out, on", lambda _: workers.start(new_ones), lambda people: workers.kill(old_ones, people))
    workers.wait_until_given_back()
    phase(
        "After the upgrade", lambda people: workers.kill(new_ones, people), lambda _: workers.start(new_ones)
    )
    phase("Rolling back", lambda _: workers.start(old_ones), lambda _: workers.stop(new_ones))
    workers.start(old_ones, "beat")
    next_beat.end()
    phase("Rolling back, on", lambda _: workers.start(old_ones), lambda _: workers.stop(new_ones))
    phase("After the roll-back")

    again = 0
    for _, _, population in phases:
        population.relink()
        again += population.send_again()
    unexplained = lost = 0
    for name, steps, population in phases:
        result = population.settle(240)
        redone = sum(times for sub, times in result.rewritten.items() if sub not in workers.held)
        result.enter(record, name, steps, len(population), result.doubled + redone)
        lost += result.lost
        unexplained += result.doubled + redone
    assert numbered == [False, *[True] * 6]
    assert (lost, unexplained) == (0, 0)
    # A message that was taken and not yet recorded when its worker was killed.
    assert again <= 2 * workers.kills
    assert fleet.logged("message.dropped") == fleet.logged("look.crashed") == []


def test_the_kept_ledger_of_0_1_0_is_made_again(former: Path, tmp_path: Path) -> None:
    """By the code of 0.1.0, to the byte, except for when keys expire: nobody changed it by hand."""
    made, kept = make.made(tmp_path), stored.read(stored.V0_1_0)

    for content in (made, kept):
        for entry in content["ledger"].values():
            entry["expires"] = entry.pop("expires_in_ms", None) is not None
    assert made == kept


def test_a_worker_ends_when_a_newer_version_changes_its_ledger(
    tmp_path: Path, long: bool, record: Record
) -> None:
    """It would misread it: within seconds it takes no more, says why, and fails; so does the next start."""
    if not long:
        pytest.skip("a worker looks every ten seconds: this belongs to the long form")
    with fleet_of_roles(tmp_path) as fleet:
        fleet.redis.hset("reconciler:about", "layout", LAYOUT + 1)

        code = fleet.children[0].process.wait(40)
        again = fleet.run("worker")

        record("A newer version has changed the ledger", injected=1, events=0)
        assert (code, again.returncode) == (1, 1)
        assert len(fleet.logged("ledger.newer")) == 1
        assert f"has layout {LAYOUT + 1}" in again.stderr
