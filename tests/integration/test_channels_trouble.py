"""An account's notification channel when Cronofy, the budget or the operator prevents it."""

from __future__ import annotations

import json

import pytest

from sandbox.demo.receiver import receiver
from sandbox.server import RunningSandbox
from tests.integration.channels import URL, age, channel_of, notify, open_at_cronofy, running, tend
from tests.integration.world import Begin
from tests.waiting import wait_until
from worker.intake import accept
from worker.intake.payloads import AccountOnly
from worker.run import looks

__all__ = ["running"]


@pytest.mark.parametrize("status", [402, 403, 404, 422])
def test_a_refusal_harms_nothing(begin: Begin, status: int) -> None:
    """The account is not lost, its events are looked at, and the channel is tried again a day later."""
    world = begin(webhook_url=URL)
    opening = {"method": "POST", "path_prefix": "/v1/channels"}
    world.control.add_fault("status", status=status, match=opening, times=1)
    world.track()

    tend(world)
    assert world.look()["state"] == "pending"
    tend(world)

    refused = channel_of(world)
    assert refused
    assert (refused.channel_id, bool(refused.refused)) == (None, True)
    assert world.calls().count("POST /v1/channels") == 1
    assert not world.services.ledger.account(world.sub).lost
    assert world.standing() == {"waiting"}

    age(world, hours=25)
    world.look()
    tend(world)
    assert len(open_at_cronofy(world)) == 1


def test_without_room_in_the_budget_the_channel_waits(begin: Begin) -> None:
    """It never uses the reserve, and stays due."""
    world = begin(webhook_url=URL, api_per_second=10, api_share=1)
    cronofy = world.services.looker.cronofy
    cronofy.budget(cronofy.origin("us")).take(8)

    result = looks.look_at_ready(world.services, 1)

    assert result.looked_at == 0
    assert world.standing() == {"ready"}
    assert open_at_cronofy(world) == []


def test_a_refused_grant_loses_the_account(begin: Begin) -> None:
    """As it does when its events are read."""
    world = begin(webhook_url=URL)
    world.control.expire_access_token(world.sub)
    world.control.revoke_refresh_token(world.sub)

    tend(world)

    assert world.services.ledger.account(world.sub).lost
    assert world.types() == ["account_lost"]
    assert world.standing() == set()


@pytest.mark.parametrize("unreachable", [False, True], ids=["as usual", "Cronofy is unreachable"])
def test_forgetting_an_account_closes_its_channel(begin: Begin, unreachable: bool) -> None:
    """Nothing of it is left here or, if it answers, at Cronofy; later notifications match no account."""
    world = begin(webhook_url=URL)
    tend(world)
    channel_id = str(world.control.channels(world.sub)[0]["channel_id"])
    if unreachable:
        world.control.add_fault("status", status=503, match={"method": "DELETE"})

    accept.forget_account(world.services, AccountOnly(sub=world.sub))

    assert len(open_at_cronofy(world)) == unreachable
    assert notify(world, "change", channel_id) == ()
    ledger = world.services.ledger
    assert not list(ledger.redis.scan_iter(f"{ledger.prefix}:account:*"))


def test_removing_the_setting_leaves_nothing_to_do(begin: Begin) -> None:
    """An account whose channel was due when the address was unset is not looked at forever."""
    world = begin(webhook_url=URL)
    keys = world.services.settings.vault_keys[0].get_secret_value()
    without = begin(vault_keys=keys)
    tend(without)
    assert world.standing() == set()


def test_an_update_of_ours_adds_a_subscription(begin: Begin) -> None:
    """The address names account and event, and its notifications save looks."""
    world = begin(webhook_url=URL)
    theirs = {"type": "webhook", "uri": "https://app.example.com", "interactions": []}
    world.track(subscriptions=[theirs])
    world.control.remove_profile(world.sub, "pro_0")
    channels = world.services.looker.channels
    assert channels

    world.look()

    [write] = world.writes()
    assert [each["uri"] for each in write["body"]["subscriptions"]] == [
        "https://app.example.com",
        channels.callbacks.of(world.sub, world.calendar_id, "e1"),
    ]
    assert world.stored().event.subscribed


def test_cronofy_closes_a_channel_that_nobody_answers(begin: Begin, running: RunningSandbox) -> None:
    """As documented, once all tries failed; a channel whose receiver answers stays open."""
    taken: list[str] = []
    with receiver(lambda body, _signature: taken.append(body)) as url:
        world = begin(webhook_url=url)
        running.control.set_settings(notify_loss=0.0, notify_attempts=1)
        tend(world)
        wait_until(lambda: taken, what="the verification")
        assert json.loads(taken[0])["notification"] == {"type": "verification"}
        [channel] = running.control.channels(world.sub)
    assert running.control.channels(world.sub) == [channel]

    world.control.create_event(world.sub, world.calendar_id, world.body())
    world.control.move_event(world.calendar_id, "e1", summary="Moved")

    wait_until(lambda: not running.control.channels(world.sub), what="the channel to be closed")
