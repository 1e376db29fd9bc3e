"""With ``RECONCILER_RELINK_WHEN=disconnected`` a user is asked before an event waits (contract §6)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.integration.channels import URL, notify, running, tend
from tests.integration.world import Begin, World
from worker.run import looks

__all__ = ["running"]

DISCONNECTED = "conferencing_profile_disconnected"


def early(begin: Begin, **settings: Any) -> World:
    """An account with a channel and no event, whose users are asked early."""
    world = begin(webhook_url=URL, relink_when="disconnected", **settings)
    tend(world)
    return world


def told(world: World) -> list[tuple[Any, Any]]:
    """Whom the outcomes say was asked, about which profile."""
    return [(o["type"], o["detail"].get("profile_id")) for o in world.outcomes()]


def lapse(world: World, profile: int = 0) -> tuple[str, ...]:
    """A profile is disconnected, and Cronofy says so; returns the accounts to look at."""
    world.control.disconnect_profile(world.sub, world.profiles[profile])
    return notify(world, DISCONNECTED)


def test_a_notification_brings_the_email_though_there_is_no_event(begin: Begin) -> None:
    """One call, UserInfo, says which profile it is; then nothing is left to do until a reminder's time."""
    world = early(begin)
    calls = len(world.calls())

    woken = lapse(world)
    looks.look_at_account(world.services, world.sub)

    assert woken == (world.sub,)
    assert world.calls()[calls:] == ["GET /v1/userinfo"]
    assert told(world) == [("relink_requested", world.profiles[0])]
    [mail] = world.mails()
    assert b"new meetings get no link" in mail.message
    assert world.standing() == {"waiting"}


def test_by_default_nobody_is_asked_before_an_event_waits(begin: Begin) -> None:
    """Without an event the notification costs no call."""
    world = begin(webhook_url=URL)
    tend(world)
    calls = len(world.calls())

    assert lapse(world) == ()
    tend(world)

    assert (world.calls()[calls:], world.outcomes(), world.standing()) == ([], [], set())


def test_what_the_notification_says_is_only_a_hint(begin: Begin) -> None:
    """UserInfo shows every profile connected: nothing is sent, and nothing is due."""
    world = early(begin)

    notify(world, DISCONNECTED)
    tend(world)

    assert (world.outcomes(), world.mails(), world.standing()) == ([], [], set())
    assert world.services.ledger.account(world.sub).profiles_due is None


def test_a_profile_that_is_back_is_reported_though_no_event_waited(begin: Begin) -> None:
    """UserInfo is asked again when the first reminder would be due."""
    world = early(begin)
    lapse(world)
    tend(world)
    world.control.reconnect_profile(world.sub, world.profiles[0])
    ledger = world.services.ledger
    due = ledger.account(world.sub).profiles_due
    assert due is not None
    assert timedelta(hours=23) < timedelta(milliseconds=due - ledger.now().timestamp() * 1000)

    ledger.redis.hset(ledger.keys.account(world.sub), "profiles_due", 1)
    ledger.redis.zadd(ledger.keys.waiting, {world.sub: 0})
    ledger.promote(10)
    tend(world)

    assert [kind for kind, _ in told(world)] == ["relink_requested", "relinked"]
    assert world.standing() == set()


def test_an_event_tracked_meanwhile_brings_no_second_email(begin: Begin) -> None:
    """It waits for the same profile, and is part of the episode."""
    world = early(begin)
    lapse(world)
    tend(world)
    assert len(world.mails()) == 1

    world.track()
    diagnosis = world.look()

    assert (diagnosis["cause"], diagnosis["remedy"]) == ("credentials_expired", "relink_email")
    assert (world.mails(), len(world.outcomes())) == ([], 1)


def test_events_that_wait_are_in_the_email(begin: Begin) -> None:
    """As with any notification about the account, they are looked at, too."""
    world = early(begin)
    world.track()

    lapse(world)
    looks.look_at_account(world.services, world.sub)

    [outcome] = world.outcomes()
    assert (outcome["type"], outcome["detail"]["event_ids"]) == ("relink_requested", ["e1"])


@pytest.mark.parametrize("count", [0, 1], ids=["without an event", "with one"])
def test_cronofy_is_asked_again_a_minute_after_it_gave_no_answer(begin: Begin, count: int) -> None:
    """No loop, and the email follows."""
    world = early(begin)
    for _ in range(count):
        world.track()
    world.control.add_fault("status", status=503, match={"path_prefix": "/v1/userinfo"}, times=1)
    lapse(world)

    tend(world)
    tend(world)
    asked = world.calls().count("GET /v1/userinfo")
    ledger = world.services.ledger
    due = ledger.account(world.sub).profiles_due

    assert (asked, world.mails(), world.standing()) == (1, [], {"waiting"})
    assert due is not None
    assert 50_000 < due - ledger.now().timestamp() * 1000 <= 60_000
    ledger.redis.hset(ledger.keys.account(world.sub), "profiles_due", 1)
    ledger.redis.zadd(ledger.keys.waiting, {world.sub: 0})
    ledger.promote(10)
    tend(world)
    assert len(world.mails()) == 1


def test_a_notification_during_the_look_is_taken_up_by_another(begin: Begin) -> None:
    """What was read may be older than it."""
    world = early(begin)
    notify(world, DISCONNECTED)
    lease = world.services.ledger.claim(timedelta(seconds=30))
    assert lease is not None
    lapse(world)

    looks.guarded_look(world.services, lease)

    assert world.standing() == {"ready"}


def test_a_notification_about_a_lost_account_waits_until_it_is_connected_again(begin: Begin) -> None:
    """No call is made for it."""
    world = early(begin)
    world.control.disconnect_profile(world.sub, world.profiles[0])
    ledger = world.services.ledger
    ledger.redis.hset(ledger.keys.account(world.sub), "standing", "lost")

    notify(world, DISCONNECTED)
    assert world.standing() == set()
    world.connect()
    while world.standing() == {"ready"}:
        tend(world)

    assert told(world)[-1][0] == "relink_requested"


def test_a_dry_run_asks_nobody(begin: Begin) -> None:
    """It has no channel either: the application passes the notification on."""
    world = begin(relink_when="disconnected", dry_run=True)
    world.control.disconnect_profile(world.sub, world.profiles[0])

    notify(world, DISCONNECTED, "chn_1")
    tend(world)

    assert (world.mails(), world.outcomes(), world.standing()) == ([], [], set())
