"""Processes that are killed, stopped or doubled while they work, and an event that fails every look."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from config.settings import load_settings
from tests.acceptance.harness import INTAKE, Fleet, zoom
from tests.acceptance.processes import Child, children_of
from tests.faults.fleets import fleet_of_roles
from tests.faults.population import Population
from tests.faults.record import Record
from tests.waiting import wait_until
from worker.ledger.ledger import Ledger
from worker.ledger.opening import keyless_ledger
from worker.ledger.records import EventKey, to_ms


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of_roles(tmp_path_factory.mktemp("processes")) as running:
        yield running


def _rewrite(ledger: Ledger, sub: str, key: EventKey, asked_at: Any) -> None:
    """Give a record a value that no look can work with, or a proper one again."""
    stored = ledger.find_pending(sub, key)
    assert stored is not None
    assert ledger.take_up(sub, stored, replace(stored.event, asked_at=asked_at))


def test_what_fails_every_look_is_parked_by_tasks_of_its_own_and_comes_back(
    fleet: Fleet,
) -> None:
    """A batch hands the account over once the event has failed; its neighbour gets its link as usual."""
    person = fleet.person(zoom("pro_zoom"))
    for event_id in ("poisoned", "healthy"):
        person.stick(event_id)
        person.write_and_track(event_id, "pro_zoom")
    ledger = keyless_ledger(fleet.redis, load_settings(redis_url=fleet.redis_url))
    key = EventKey(person.calendar_id, "poisoned")
    _rewrite(ledger, person.sub, key, "never")
    for event_id in ("poisoned", "healthy"):
        person.stick(event_id, on=False)

    person.outcome("assigned", "healthy", 15)
    escalated = person.outcome("escalated", "poisoned", 60)

    failed = [line for line in fleet.logged("event.failed") if line["event_id"] == "poisoned"]
    assert [line["attempts"] for line in failed] == [1, 2, 3, 4]
    assert [line["task"] for line in failed[1:]] == ["conferencing.look_at_account"] * 3
    assert escalated["detail"]["reason"].startswith("Parked: 5 looks in a row")
    listed = json.loads(fleet.run("dead-letters", "--json").stdout)
    [dead_letter] = [each for each in listed if each["kwargs"]["sub"] == person.sub]
    _rewrite(ledger, person.sub, key, to_ms(ledger.now()))

    assert fleet.run("dead-letters", "replay", dead_letter["id"]).returncode == 0

    person.outcome("assigned", "poisoned", 15)
    wait_until(lambda: fleet.run("dead-letters", "--json").stdout.strip() == "[]", 10, 0.5, what="no letter")


def _start_worker(fleet: Fleet) -> Child:
    """Start another worker; returns once it takes messages."""
    ready = fleet.log.read_bytes().count(b"worker.ready")
    child = fleet.start("worker")
    wait_until(lambda: fleet.log.read_bytes().count(b"worker.ready") > ready, 60, what="a new worker")
    return child


def _kill(worker: Child, dice: random.Random) -> None:
    """Kill the whole worker, its main process, or one of its pool, at random."""
    pool = children_of(worker.pid)
    victims = dice.choice([[worker.pid, *pool], [worker.pid], [dice.choice(pool)] if pool else [worker.pid]])
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    if worker.pid in victims:
        worker.process.wait(5)


def test_killed_workers_lose_nothing_and_do_nothing_twice(
    fleet: Fleet, long: bool, seed: int, record: Record
) -> None:
    """Workers are killed (kill -9) repeatedly while events are tracked, fixed and settled.

    Every event ends with its conference and has each outcome once. Any double write to Cronofy belongs to an
    account that a killed process was holding, and any email sent twice has one Message-ID.
    """
    dice = random.Random(seed)
    people, events, kills = (30, 50, 20) if long else (9, 6, 3)
    population = Population.of(fleet, people, events)
    held_by_workers: list[str] = []
    moments = sorted(dice.sample(range(len(population)), kills))
    workers = [fleet.children[0]]

    for number, _ in enumerate(population.track()):
        if number in moments:
            time.sleep(dice.uniform(0, 0.5))
            held_by_workers.extend(population.leased())
            _kill(workers[-1], dice)
            held_by_workers.extend(population.leased())
            if workers[-1].process.poll() is not None:
                workers.append(_start_worker(fleet))
    population.relink()
    again = population.send_again()
    result = population.settle(300 if long else 120)
    fleet.children[0] = workers[-1]

    unexplained = sum(times for sub, times in result.rewritten.items() if sub not in held_by_workers)
    result.enter(record, "A worker is killed (kill -9)", kills, len(population), result.doubled + unexplained)
    assert again <= 2 * kills
    assert (result.lost, result.doubled, unexplained) == (0, 0, 0)
    assert result.repeated_mails <= kills


def test_a_worker_asked_to_end_finishes_its_work(fleet: Fleet, record: Record) -> None:
    """SIGTERM under load: exit code 0, nothing is left unacknowledged, and nothing it did is repeated."""
    wait_until(fleet.drained, 120, what="redelivery of what killed workers held")
    population = Population.of(fleet, 9, 4)
    fleet.control.add_fault("slow", match={"path_prefix": "/v1/events"}, seconds=0.3)
    list(population.track())
    wait_until(population.leased, 60, what="looks to start")

    leaving = fleet.children[0]
    leaving.process.send_signal(signal.SIGTERM)
    code = leaving.process.wait(60)
    held, unacked = population.leased(), fleet.redis.hlen("reconciler.unacked")
    fleet.control.clear_faults()
    fleet.children[0] = _start_worker(fleet)
    population.relink()
    again = population.send_again()
    result = population.settle(120)

    result.enter(record, "A worker is asked to end (SIGTERM) under load", 1, len(population), result.redone)
    assert code == 0
    assert (held, unacked, again) == (set(), 0, 0)
    assert (result.lost, result.redone) == (0, 0)


def test_a_stopped_workers_late_commit_is_refused(fleet: Fleet, record: Record) -> None:
    """SIGSTOP past the lease: another worker's look stands, and the zombie's commit is refused."""
    person = fleet.person(zoom("pro_new"), removed_profiles=["pro_old"])
    fleet.control.add_fault(
        "slow", match={"path_prefix": "/v1/events", "sub": person.sub}, seconds=1, times=1
    )
    person.write_and_track("held", "pro_old", provider_name="zoom")
    wait_until(lambda: fleet.requests(person.sub, path="/v1/events"), 15, what="the look to start")
    zombie = fleet.children[0]
    pool = children_of(zombie.pid)
    for pid in (zombie.pid, *pool):
        os.kill(pid, signal.SIGSTOP)
    try:
        fleet.children.append(_start_worker(fleet))
        before = fleet.log.read_bytes().count(b"look.lease_lost")
        # Expires the lease early.
        assert fleet.redis.zadd("reconciler:leased", {person.sub: 0}, xx=True, ch=True) == 1
        person.outcome("assigned", "held", 60)
        # The pool first: its main process would kill a task that was stopped for longer than its time limit.
        for pid in pool:
            os.kill(pid, signal.SIGCONT)
        refused = wait_until(lambda: fleet.log.read_bytes().count(b"look.lease_lost") - before, 30)
    finally:
        for pid in (*pool, zombie.pid):
            os.kill(pid, signal.SIGCONT)

    kinds = sorted(kind for kind, _ in person.outcome_kinds())
    record("A worker is stopped (SIGSTOP) past its lease", injected=1, events=1, doubled=len(kinds) - 3)
    assert refused == 1
    assert kinds == ["account_connected", "assigned", "reassigned"]
    # Once by the caller, once by us.
    assert [w["event_id"] for w in fleet.control.writes() if w["sub"] == person.sub] == ["held", "held"]
    assert all(child.process.poll() is None for child in (zombie, fleet.children[-1]))
    # Stopped for longer than a task may run, it may have killed one of its pool, and a pool with a process
    # killed at the wrong moment may hang: a supervisor's SIGKILL handles that.
    zombie.process.kill()
    zombie.process.wait(5)


def test_beat_may_be_killed_and_doubled(fleet: Fleet, record: Record) -> None:
    """Without beat nothing is looked at; two beats in its place, and two workers, do everything once."""
    beat = next(child for child in fleet.children if "beat" in child.process.args)  # type: ignore[operator]
    os.kill(beat.pid, signal.SIGKILL)
    beat.process.wait(5)
    idle = [INTAKE, "reconciler.looks"]
    wait_until(
        lambda: not any(fleet.redis.llen(name) for name in idle), 30, what="its last ticks to be handled"
    )
    population = Population.of(fleet, 3, 4)
    list(population.track())
    looks = len(fleet.control.requests("/v1/events"))
    time.sleep(1.5)
    unlooked = len(fleet.control.requests("/v1/events")) == looks
    beats = [fleet.start("beat"), fleet.start("beat")]
    fleet.children.append(_start_worker(fleet))

    population.relink()
    result = population.settle(120)

    result.enter(record, "Beat is killed, and doubled", 2, len(population), result.redone)
    assert unlooked
    assert (result.lost, result.redone) == (0, 0)
    assert all(each.process.poll() is None for each in beats)
