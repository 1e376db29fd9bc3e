"""Events that kill the process looking at them, and processes that die by accident."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, cast

from config.settings import Settings
from tests.integration.world import Begin, World
from worker.bootstrap import bootstrap
from worker.reconcile import look, verdict
from worker.run import looks

#: Exit codes: the process died of its event, or survived.
DEAD, THROUGH = 9, 0
#: Forked from a process that has neither threads nor connections.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["worker.run.looks", "sandbox.server", "pytest"])


def die_of(settings: Settings, event_id: str) -> None:
    """In a separate process: one batch of looks and its follow-ups, which this event kills."""

    def die_of_one(lease: Any, stored: Any, *args: Any) -> Any:
        if stored.event.key.event_id == event_id:
            os._exit(DEAD)
        return verdict.judge(lease, stored, *args)

    look.judge = die_of_one  # type: ignore[assignment, attr-defined]
    services = bootstrap(settings)
    services.ledger.promote(100)
    for sub in looks.look_at_ready(services, 8).alone:
        looks.look_at_account(services, sub)


def batch(world: World, event_id: str = "bad") -> int:
    """One batch, after all earlier leases have expired. Returns how its process ended."""
    ledger = world.services.ledger
    for sub in cast("list[bytes]", ledger.redis.zrange(ledger.keys.leased, 0, -1)):
        ledger.redis.zadd(ledger.keys.leased, {sub: 0})
    process = PROCESSES.Process(target=die_of, args=(world.services.settings, event_id))
    process.start()
    process.join(30)
    assert process.exitcode in {DEAD, THROUGH}
    return process.exitcode or THROUGH


def test_an_event_that_kills_its_process_is_parked_and_its_neighbours_settle(quick: Begin) -> None:
    """After five deaths, without a sixth; by then all others of its account and batch are done."""
    world = quick()
    for event_id in ("good-1", "bad", "good-2"):
        world.track(event_id)
    for number in range(3):
        world.another().track(f"far-{number}")

    ends = [batch(world) for _ in range(9)]

    assert ends.count(DEAD) == 5
    assert ends[-1] == THROUGH
    event = world.stored("bad").event
    assert event.parked == (
        "Parked: 5 looks in a row at this event failed, "
        "the last one with no result: the worker's process was killed or ran out of time."
    )
    settled = {outcome["event_id"] for outcome in world.outcomes() if outcome["type"] == "assigned"}
    assert settled == {"good-1", "good-2", "far-0", "far-1", "far-2"}
    [kept] = world.services.dead_letters
    assert (kept.letter.kwargs["event_id"], kept.letter.reason) == ("bad", event.parked)
    assert world.types().count("escalated") == 1
    assert world.look("bad")["state"] == "assigned"


def test_an_event_alone_in_its_account_kills_as_often(quick: Begin) -> None:
    """Its deaths count from the first one."""
    world = quick(max_attempts=4)
    world.track("bad")

    ends = [batch(world) for _ in range(5)]

    assert ends == [DEAD] * 4 + [THROUGH]
    assert world.stored("bad").event.parked


def test_random_deaths_park_nothing(quick: Begin) -> None:
    """Workers are killed ten times while holding the account; after every other one a look completes."""
    world = quick(max_attempts=2)
    world.control.set_settings(generation_seconds=3600)
    for event_id in ("e1", "e2"):
        world.track(event_id)
    ledger = world.services.ledger
    for number in range(10):
        claimed = ledger.claim_account(world.sub, world.services.settings.lease)
        assert claimed.unended in {0, 1}  # type: ignore[union-attr]
        ledger.redis.zadd(ledger.keys.leased, {world.sub: 0})
        if number % 2:
            world.look("e1")

    stored = [world.stored(name).event for name in ("e1", "e2")]

    assert [event.attempts for event in stored] == [0, 0]
    assert list(world.services.dead_letters) == []


def test_a_released_lease_is_not_a_death(quick: Begin) -> None:
    """Putting an account off, or only explaining, leaves the count unchanged."""
    world = quick()
    world.track("e1")
    ledger, lease = world.services.ledger, world.services.settings.lease
    first = ledger.claim_account(world.sub, lease)
    ledger.redis.zadd(ledger.keys.leased, {world.sub: 0})
    counts = []
    for _ in range(3):
        claimed: Any = ledger.claim_account(world.sub, lease)
        counts.append(claimed.unended)
        ledger.release(claimed)
    looks.explain(world.services, world.sub, world.key("e1"))

    assert first.unended == 0  # type: ignore[union-attr]
    assert counts == [1, 1, 1]
    assert ledger.redis.hget(f"{ledger.prefix}:claims", world.sub) == b"1"
    world.look("e1")
    assert ledger.redis.exists(f"{ledger.prefix}:claims") == 0
