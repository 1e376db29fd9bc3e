"""Closed events that are to happen after all: postponed, or restored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.integration.world import NOW, Begin, World
from worker.run import looks


def closed(world: World, how: str) -> None:
    """An event that a look closed as past, deleted or cancelled."""
    world.track(hours=-1 if how == "past" else 48)
    if how == "deleted":
        world.control.delete_event(world.calendar_id, "e1")
    if how == "cancelled":
        world.control.cancel_event(world.calendar_id, "e1")
    assert world.look()["state"] == "closed"
    assert world.types() == ["closed"]


def bring_back(world: World, how: str, hours: float = 30) -> None:
    """It is postponed, or restored."""
    if how == "past":
        start = NOW + timedelta(hours=hours)
        end = start + timedelta(minutes=30)
        world.control.move_event(world.calendar_id, "e1", start=start.isoformat(), end=end.isoformat())
    else:
        world.control.restore_event(world.calendar_id, "e1")


def asked(world: World) -> None:
    """Somebody asks to have it looked at."""
    assert world.look()["state"] == "pending"


def explained(world: World) -> None:
    """Somebody asks why."""
    found = world.explain()
    assert (found.live, found.answer["state"]) == (True, "pending")
    assert found.answer["next_check_at"] is not None


def notified(world: World) -> None:
    """Cronofy notifies us of it."""
    assert world.notify("e1", "conferencing_failing", "sunspots") == (world.sub,)


@pytest.mark.parametrize("how", ["past", "deleted", "cancelled"])
@pytest.mark.parametrize("why", [asked, explained, notified])
def test_it_is_taken_up_again(
    begin: Begin, running: RunningSandbox, how: str, why: Callable[[World], None]
) -> None:
    """By a question or a notification: published once, with a wait of its own, until it has its link."""
    world = begin()
    closed(world, how)
    bring_back(world, how)
    first = world.stored().event

    why(world)
    looks.look_at_account(world.services, world.sub)

    event = world.stored().event
    assert world.services.ledger.find_pending(world.sub, world.key()) is not None
    assert (world.types(), event.cause) == (["closed", "reopened"], "generating")
    assert (event.asked_at > first.asked_at, event.tracked_at) == (True, first.tracked_at)
    running.control.set_settings(generation_seconds=0)
    running.control.set_stuck(world.calendar_id, "e1", on=False)
    assert world.look()["state"] == "assigned"
    assert world.types() == ["closed", "reopened", "assigned"]
    running.control.set_settings(generation_seconds=3600)


@pytest.mark.parametrize("how", ["past", "deleted", "cancelled"])
@pytest.mark.parametrize("why", [World.look, World.explain, notified])
def test_one_that_stays_closed_is_closed_in_silence(
    begin: Begin, how: str, why: Callable[[World], object]
) -> None:
    """It is read again each time, but nothing changed, so nothing is published or counted."""
    world = begin()
    closed(world, how)
    before = world.services.ledger.counters()
    calls = len(world.calls())

    for _ in range(2):
        why(world)
        looks.look_at_account(world.services, world.sub)

    assert len(world.calls()) > calls
    assert (world.types(), world.stored().event.was_closed) == (["closed"], True)
    after = world.services.ledger.counters()
    assert {name for name in after if after[name] != before.get(name, 0) and "settle" in name} == set()
    assert after["events:pending"] == 0
    assert world.standing() == set()


def test_a_look_at_another_event_sees_that_a_past_one_was_postponed(begin: Begin) -> None:
    """At no extra call; the look that follows takes it up."""
    world = begin()
    closed(world, "past")
    world.track("e2", hours=29)
    world.look("e2")
    usual = len(world.calls())
    world.look("e2")
    usual = len(world.calls()) - usual
    bring_back(world, "past")
    calls = len(world.calls())

    world.look("e2")

    assert len(world.calls()) - calls == usual
    assert (world.types(), world.standing()) == (["closed"], {"ready"})
    looks.look_at_ready(world.services, 1)
    assert (world.types(), world.outcomes()[-1]["event_id"]) == (["closed", "reopened"], "e1")
    assert world.stored().event.starts_at == NOW + timedelta(hours=30)


def test_what_was_closed_longer_ago_waits_for_a_question(begin: Begin) -> None:
    """After a day, looks at other events do not concern themselves with it."""
    world = begin()
    closed(world, "past")
    ledger = world.services.ledger
    past = ledger.keys.past(world.sub)
    found: Any = ledger.redis.zrange(past, 0, -1, withscores=True)
    ledger.redis.zadd(past, {field: at - 86_400_000 for field, at in found})
    bring_back(world, "past")
    world.track("e2", hours=29)

    world.look("e2")

    assert world.types() == ["closed"]
    assert world.look()["state"] == "pending"


@pytest.mark.parametrize("how", ["tracked", "untracked", "forgotten"])
def test_what_is_tracked_anew_or_no_longer_is_not_reopened(begin: Begin, how: str) -> None:
    """Nothing of the closed record is left."""
    world = begin()
    closed(world, "past")
    ledger = world.services.ledger
    if how == "tracked":
        world.track(write=False)
    elif how == "untracked":
        ledger.untrack(world.sub, world.key())
    else:
        ledger.forget(world.sub)

    assert ledger.redis.exists(ledger.keys.past(world.sub)) == 0
    assert not ledger.reopen(world.sub, world.key())


def test_an_assigned_event_stays_settled(quick: Begin) -> None:
    """A question or a notification about it costs no call."""
    world = quick()
    world.track()
    world.look()
    calls = world.calls()

    world.look()
    world.explain()
    assert world.notify("e1", "conferencing_assigned") == ()

    assert world.calls() == calls
