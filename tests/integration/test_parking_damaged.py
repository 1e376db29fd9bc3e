"""Records and accounts that cannot be read: set aside at once, without affecting others."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from tests.integration.poison import dead_letters, neighbour, run_until, state
from tests.integration.world import Begin
from worker.intake import accept
from worker.intake.payloads import TrackEvent

DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "half a header": lambda value: value[:9],
    "a header alone": lambda value: value[:25],
    "a header without numbers": lambda value: b"\xff" * 25 + value[25:],
    "not deflated": lambda value: value[:25] + b"\xff" * 40,
    "cut off": lambda value: value[:-7],
    "no record": lambda value: value[:25] + b"\x4b\x04\x00",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_record_that_cannot_be_read_is_set_aside_at_once(
    quick: Begin, damage: Callable[[bytes], bytes]
) -> None:
    """It moves to the dead letters, the others settle in the same look, and the parking is reported."""
    world = quick(escalation_email="operator@example.org")
    for event_id in ("good-1", "bad", "good-2"):
        world.track(event_id)
    far = neighbour(world)
    redis, field = world.services.ledger.redis, cast("str", world.key("bad").field)
    key = world.services.ledger.keys.events(world.sub)
    damaged = damage(cast("bytes", redis.hget(key, field)))
    redis.hset(key, field, cast("str", damaged))

    run_until(world, lambda: state(world, "good-1") == "assigned", "the first look")

    assert state(world, "good-2") == "assigned"
    assert redis.hexists(key, field) is False
    [kept] = dead_letters(world)
    assert (kept.letter.task, kept.letter.record) == ("conferencing.track", damaged)
    event = {"event_id": "bad"}
    assert kept.letter.kwargs == {"sub": world.sub, "calendar_id": world.calendar_id, "event": event}
    [outcome] = [outcome for outcome in world.outcomes() if outcome["event_id"] == "bad"]
    assert (outcome["type"], outcome["calendar_id"]) == ("escalated", world.calendar_id)
    assert [b"dead-letters" in mail.message for mail in world.mails()] == [True]
    run_until(world, lambda: world.services.ledger.pending(far.sub) == (), "the other account to settle")
    accept.track(world.services, TrackEvent.model_validate(dict(kept.letter.kwargs)))
    run_until(world, lambda: state(world, "bad") == "assigned", "it to settle once it is tracked again")


def test_a_record_under_another_events_field_is_set_aside(quick: Begin) -> None:
    """Otherwise it would be looked at forever, since nothing can be written to it; nor is garbage a field."""
    world = quick()
    world.track("good")
    redis, key = world.services.ledger.redis, world.services.ledger.keys.events(world.sub)
    value = cast("str", redis.hget(key, cast("str", world.key("good").field)))
    for field in (world.key("stray").field, b"no field at all", b"99:x"):
        redis.hset(key, cast("str", field), value)

    run_until(world, lambda: redis.hlen(key) == 0, "all of them to be gone")

    assert state(world, "good") == "assigned"
    assert len(dead_letters(world)) == 3


@pytest.mark.parametrize("part", ["memo", "profile", "last_notice", "credentials"])
def test_a_damaged_account_does_not_block_others(quick: Begin, part: str) -> None:
    """Without its memo an account is looked at as if for the first time; without tokens it waits."""
    world = quick()
    world.track("e1")
    far = neighbour(world)
    ledger = world.services.ledger
    ledger.redis.hset(f"{ledger.prefix}:account:{world.sub}", part, b"\xc1\xff damaged".decode("latin-1"))

    run_until(world, lambda: ledger.pending(far.sub) == (), "the other account to settle")

    if part == "credentials":
        run_until(world, lambda: world.stored().event.failures > 2, "looks that fail")
        world.connect()
    run_until(world, lambda: state(world, "e1") == "assigned", "it to settle")
    assert dead_letters(world) == []
