"""Poisoned events and their neighbours, for the tests of parking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.world import World
from tests.waiting import wait_until
from worker.ledger.dead_letters import KeptLetter
from worker.reconcile import look, verdict
from worker.run import looks

#: Looks follow so quickly that a test can wait for them.
QUICK = {
    "recheck_min": 0.05,
    "recheck_max": 0.1,
    "grace": 0,
    "api_per_second": 1000,
    "api_per_minute": 10_000,
}


def neighbour(world: World) -> World:
    """A second account with one event, `far`, that is due as well."""
    other = world.another()
    other.track("far")
    return other


def sweep(world: World) -> None:
    """What beat and a worker do once."""
    world.services.ledger.promote(100)
    for sub in looks.look_at_ready(world.services, 8).alone:
        looks.look_at_account(world.services, sub)


def dead_letters(world: World) -> list[KeptLetter]:
    """The dead letters."""
    return list(world.services.dead_letters)


def make_all_due(world: World) -> None:
    """Make all pending events of the account due."""
    for stored in world.services.ledger.pending(world.sub):
        world.services.ledger.nudge(world.sub, stored.event.key)


def run_until(world: World, condition: Callable[[], Any], what: str) -> None:
    """Sweep until the condition holds."""

    def swept() -> Any:
        sweep(world)
        return condition()

    wait_until(swept, 20, what=what)


def state(world: World, event_id: str) -> str | None:
    """The event's state."""
    last = world.stored(event_id).event.last
    return last["state"] if last else None


def is_parked(world: World, event_id: str = "bad") -> bool:
    """Whether the event is parked."""
    return world.stored(event_id).event.parked is not None


def gauge(world: World, name: str) -> int:
    """One of the counters."""
    return world.services.ledger.counters().get(name, 0)


def poison(monkeypatch: pytest.MonkeyPatch, error: Exception, event_id: str = "bad") -> list[str]:
    """Make every diagnosis of this event fail; each failure extends the list."""
    tried: list[str] = []

    def fail_for_one(lease: Any, stored: Any, *args: Any) -> Any:
        if stored.event.key.event_id == event_id:
            tried.append(event_id)
            raise error
        return verdict.judge(lease, stored, *args)

    monkeypatch.setattr(look, "judge", fail_for_one)
    return tried
