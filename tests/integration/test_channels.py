"""An account's notification channel: one of ours, at the current address, reopened when it is gone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.integration.channels import URL, age, channel_of, notify, open_at_cronofy, running, tend
from tests.integration.world import Begin
from worker.ledger.records import NotificationChannel
from worker.run import looks

__all__ = ["running"]


def test_connecting_opens_one_channel(begin: Begin) -> None:
    """Even if the account has no event; it covers only our own events."""
    world = begin(webhook_url=URL)
    assert world.standing() == {"ready"}

    tend(world)

    [channel] = world.control.channels(world.sub)
    assert channel["callback_url"].startswith(f"{URL}/webhooks/cronofy/")
    assert world.sub not in channel["callback_url"]
    assert channel["filters"] == {"only_managed": True}
    assert channel_of(world) == NotificationChannel(channel["channel_id"], channel["callback_url"])
    assert world.standing() == set()


def test_connecting_again_finds_the_channel(begin: Begin) -> None:
    """There is one, however often and whenever an account is connected."""
    world = begin(webhook_url=URL)
    for _ in range(2):
        world.connect()
        tend(world)
    assert world.calls().count("POST /v1/channels") == 1
    assert len(open_at_cronofy(world)) == 1


def test_connecting_during_the_call_has_it_looked_after_once_more(begin: Begin) -> None:
    """A result found with the former credentials does not count."""
    world = begin(webhook_url=URL)
    lease = world.services.ledger.claim(timedelta(seconds=30))
    assert lease is not None
    world.connect()

    looks.guarded_look(world.services, lease)

    assert world.standing() == {"ready"}
    tend(world)
    assert world.standing() == set()
    assert world.calls().count("POST /v1/channels") == 1


@pytest.mark.parametrize(
    "settings",
    [pytest.param({}, id="no address"), pytest.param({"webhook_url": URL, "dry_run": True}, id="dry run")],
)
def test_no_channel_is_opened(begin: Begin, settings: dict[str, Any]) -> None:
    """Without an address there is nothing to open, and a dry run writes nothing to Cronofy."""
    world = begin(**settings)
    world.track()
    tend(world)
    world.look()
    assert not [call for call in world.calls() if "/v1/channels" in call]


def test_an_existing_account_gets_its_channel_after_a_look(begin: Begin) -> None:
    """The address was set later: the first look at an event handles the event, then the channel."""
    begin().services.close()
    world = begin(webhook_url=URL)
    ledger = world.services.ledger
    ledger.redis.hdel(f"{ledger.prefix}:account:{world.sub}", "channel_due")
    world.track()

    world.look()
    assert open_at_cronofy(world) == []
    tend(world)

    assert len(open_at_cronofy(world)) == 1
    assert world.standing() == {"waiting"}


def test_a_death_before_the_answer_is_recorded_opens_no_second_channel(begin: Begin) -> None:
    """The channel that the dead worker opened is found and kept."""
    world = begin(webhook_url=URL)
    channels = world.services.looker.channels
    assert channels
    channels.check(world.services.ledger.account(world.sub))
    assert channel_of(world) is None

    tend(world)

    assert world.calls().count("POST /v1/channels") == 1
    [channel] = world.control.channels(world.sub)
    assert channel_of(world) == NotificationChannel(channel["channel_id"], channel["callback_url"])


def test_an_unanswered_request_opens_no_second_channel(begin: Begin) -> None:
    """Cronofy opened it and the answer was lost: the next try finds it, a minute later."""
    world = begin(webhook_url=URL)
    world.control.add_fault("truncated", match={"method": "POST", "path_prefix": "/v1/channels"}, times=1)

    tend(world)
    assert len(open_at_cronofy(world)) == 1
    failed = channel_of(world)
    assert failed
    assert (failed.channel_id, failed.failures) == (None, 1)
    assert world.standing() == {"waiting"}

    ledger = world.services.ledger
    ledger.redis.hset(f"{ledger.prefix}:account:{world.sub}", "channel_due", 0)
    ledger.redis.zadd(f"{ledger.prefix}:waiting", {world.sub: 0})
    ledger.promote(10)
    tend(world)

    found = channel_of(world)
    assert found
    assert (found.channel_id, found.failures) == (world.control.channels(world.sub)[0]["channel_id"], 0)
    assert world.calls().count("POST /v1/channels") == 1


def test_a_new_address_replaces_the_channel(begin: Begin) -> None:
    """The channel at the former address is closed; one opened by somebody else is left alone."""
    former = begin(webhook_url=f"{URL}/")
    tend(former)
    sessions = former.services.looker.cronofy
    with sessions.session(former.services.ledger.account(former.sub)) as session:
        session.open_channel("https://product.example.com/hook")
    vault_keys = former.services.settings.vault_keys[0].get_secret_value()
    world = begin(webhook_url="https://elsewhere.example.com/reconciler", vault_keys=vault_keys)
    former.track()

    looks.reconcile_event(world.services, former.sub, former.key())
    tend(world)

    assert sorted(url.rpartition("/")[0] for url in open_at_cronofy(former)) == [
        "https://elsewhere.example.com/reconciler/webhooks/cronofy",
        "https://product.example.com",
    ]


def test_a_channel_that_cronofy_closed_is_opened_again(begin: Begin) -> None:
    """Nothing announces it: a look lists the channels once nothing came for a day, and not before."""
    world = begin(webhook_url=URL)
    tend(world)
    world.control.close_channel(world.control.channels(world.sub)[0]["channel_id"])
    world.track()

    age(world, hours=23)
    world.look()
    tend(world)
    assert open_at_cronofy(world) == []

    age(world, hours=25)
    for _ in range(2):
        world.look()
        tend(world)
        assert len(open_at_cronofy(world)) == 1
    assert world.calls().count("GET /v1/channels") == 2


def test_a_channel_with_recent_notifications_is_not_checked(begin: Begin) -> None:
    """A notification shows that it is open; one over another channel does not."""
    world = begin(webhook_url=URL)
    tend(world)
    world.track()

    for channel_id, listed in ((None, 1), ("chn_of_somebody_else", 2)):
        age(world, hours=25)
        notify(world, "change", channel_id)
        world.look()
        tend(world)
        assert world.calls().count("GET /v1/channels") == listed


@pytest.mark.parametrize(
    ("kind", "wakes"),
    [
        pytest.param("change", True, id="change"),
        pytest.param("profile_disconnected", True, id="calendar profile"),
        pytest.param("conferencing_profile_disconnected", True, id="conferencing profile"),
        pytest.param("profile_initial_sync_completed", True, id="synchronised"),
        pytest.param("profile_renamed", True, id="not known yet"),
        pytest.param("verification", False, id="verification"),
        pytest.param("gdpr_requested", False, id="erasure at Cronofy"),
    ],
)
def test_what_a_channel_says_makes_the_accounts_events_due(begin: Begin, kind: str, wakes: bool) -> None:
    """Everything that may affect them does; twice in quick succession costs one more look, and then none."""
    world = begin(webhook_url=URL)
    tend(world)
    world.track("e1")
    world.track("e2")

    assert notify(world, kind) == ((world.sub,) if wakes else ())
    assert notify(world, kind) == ((world.sub,) if wakes else ())
    assert notify(world, kind) == ()
    assert (world.standing() == {"ready"}) is wakes
