"""A notification's signature covers its body alone: what the address says is a hint at most."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.world import Begin, World
from worker.cronofy.callbacks import Callbacks
from worker.cronofy.signature import signature_of
from worker.intake import accept
from worker.intake.payloads import ReceiveNotification
from worker.ledger.packing import pack_channel
from worker.ledger.records import NotificationChannel

FAILING = {"type": "event_subscription", "interactions": [{"type": "conferencing_failing"}]}
UNLICENSED = {
    "type": "event_subscription",
    "interactions": [{"type": "conferencing_failing", "subtype": "missing_meeting_url"}],
}
URL = "https://hooks.example.com"


def receive(world: World, body: dict[str, Any], **ids: str) -> tuple[str, ...] | None:
    """Take a genuine notification that came to an address with these ids."""
    text = json.dumps(body)
    taken = accept.receive_notification(
        world.services,
        ReceiveNotification(body=text, signature=signature_of(text.encode(), "sandbox-secret"), **ids),
    )
    return None if taken is None else tuple(sub for sub, _ in taken)


def about(world: World, said: dict[str, Any] = UNLICENSED, **event: str) -> dict[str, Any]:
    """A body that names the world's event."""
    named = {"calendar_id": world.calendar_id, "event_id": "e1"} | event
    return {"notification": said, "event": named}


def channel_body(channel_id: str, address: str, **said: str) -> dict[str, Any]:
    """What comes over a channel."""
    return {"notification": said, "channel": {"channel_id": channel_id, "callback_url": address}}


@pytest.mark.parametrize("named", ["the account", "the event", "the event alone"])
def test_a_notification_at_anothers_address_touches_nobody(begin: Begin, named: str) -> None:
    """The body names one account's event, the address another's: neither is diagnosed from it."""
    here = begin()
    there = here.another()
    here.track()
    there.track()
    ids = {
        "the account": {"sub": there.sub},
        "the event": {"sub": there.sub, "calendar_id": there.calendar_id, "event_id": "e1"},
        "the event alone": {"calendar_id": there.calendar_id, "event_id": "e1"},
    }[named]

    assert receive(here, about(here), **ids) is None

    for world in (here, there):
        assert world.look()["cause"] == "generating"
    assert "escalated" not in here.types()
    assert here.services.ledger.counters()["notifications:misdirected"] == 1


def test_a_channels_notification_at_anothers_address_touches_nobody(begin: Begin) -> None:
    """Its body names the channel's address, and that the account."""
    here = begin()
    there = here.another()
    there.track()
    address = Callbacks(URL, here.services.ledger.vault).of(here.sub)

    assert receive(here, channel_body("chn_1", address, type="change"), sub=there.sub) is None
    assert receive(here, channel_body("chn_1", address, type="change"), sub=here.sub) == ()


@pytest.mark.parametrize("left_out", ["calendar_id", "event_id"])
def test_ids_that_were_not_signed_only_make_due(begin: Begin, left_out: str) -> None:
    """The event is looked at, and judged by what Cronofy says of it."""
    world = begin()
    world.track()
    body = about(world)
    del body["event"][left_out]

    taken = receive(world, body, sub=world.sub, calendar_id=world.calendar_id, event_id="e1")

    assert taken == (world.sub,)
    assert world.look()["cause"] == "generating"


def test_a_body_heard_more_than_a_day_ago_only_makes_due(begin: Begin) -> None:
    """It does not say how old it is, so the same one again after a day is a replay; another one is news."""
    world = begin()
    world.track()
    ledger = world.services.ledger
    receive(world, about(world))
    assert world.look()["cause"] == "missing_meeting_url"
    world.track()
    _age_heard(world, timedelta(hours=25))

    assert receive(world, about(world)) == (world.sub,)
    assert ledger.redis.hlen(ledger.keys.notices(world.sub)) == 0
    receive(world, about(world, FAILING))
    assert ledger.redis.hlen(ledger.keys.notices(world.sub)) == 1


def _age_heard(world: World, by: timedelta) -> None:
    """As if what was heard so far had come that much earlier: Lua's msgpack, as the script writes it."""
    ledger = world.services.ledger
    script = """
      local all = redis.call('HGETALL', KEYS[1])
      for i = 1, #all, 2 do
        local heard = cmsgpack.unpack(all[i + 1])
        for body, at in pairs(heard) do heard[body] = at - ARGV[1] end
        redis.call('HSET', KEYS[1], all[i], cmsgpack.pack(heard))
      end"""
    ledger.redis.eval(script, 1, ledger.keys.heard(world.sub), str(int(by.total_seconds() * 1000)))


def test_what_was_heard_goes_with_the_event(begin: Begin) -> None:
    """Nothing of it is left in the ledger."""
    world = begin()
    world.track()
    receive(world, about(world))
    ledger = world.services.ledger
    assert ledger.redis.exists(ledger.keys.heard(world.sub))

    ledger.untrack(world.sub, world.key())

    assert not ledger.redis.exists(ledger.keys.heard(world.sub))


@pytest.mark.parametrize(
    ("ago", "seen"),
    [(timedelta(minutes=1), True), (timedelta(hours=25), False), (None, False)],
    ids=["fresh", "old", "does not say"],
)
def test_only_a_fresh_notification_shows_that_a_channel_is_open(
    begin: Begin, ago: timedelta | None, seen: bool
) -> None:
    """A replay would hide that Cronofy closed it."""
    world = begin()
    world.track()
    record_channel(world)
    ledger = world.services.ledger
    since = {} if ago is None else {"changes_since": (ledger.now() - ago).isoformat()}

    assert receive(world, channel_body("chn_1", URL, type="change", **since), sub=world.sub) == (world.sub,)

    assert bool(ledger.redis.hexists(ledger.keys.account(world.sub), "channel_seen")) is seen


def record_channel(world: World, channel_id: str = "chn_1") -> None:
    """As if this channel had been opened for the account."""
    ledger = world.services.ledger
    packed = pack_channel(NotificationChannel(channel_id, URL))
    ledger.redis.hset(ledger.keys.account(world.sub), "channel", packed)


def gdpr(world: World, channel_id: str = "chn_1", **ids: str) -> tuple[str, ...] | None:
    """Cronofy says that the user wants to be erased."""
    return receive(world, channel_body(channel_id, URL, type="gdpr_requested"), **{"sub": world.sub, **ids})


def test_a_request_for_erasure_is_told_once_and_not_carried_out(begin: Begin) -> None:
    """The application decides; a repeated notification says nothing new."""
    world = begin()
    world.track()
    record_channel(world)

    assert (gdpr(world), gdpr(world)) == ((), ())

    [outcome] = world.outcomes()
    assert (outcome["type"], outcome["sub"], outcome["detail"]) == (
        *("erasure_requested", world.sub),
        {"forgotten": False},
    )
    assert world.stored()


def test_a_request_for_erasure_forgets_if_so_set(begin: Begin) -> None:
    """The outcome that says so is all that is left of the account in the stream."""
    world = begin(on_gdpr_request="forget")
    world.track()
    record_channel(world)

    assert (gdpr(world), gdpr(world)) == ((), ())

    ledger = world.services.ledger
    assert [(each["type"], each["detail"]) for each in ledger.outcomes.newest()] == [
        ("erasure_requested", {"forgotten": True})
    ]
    assert ledger.account(world.sub).credentials is None


def test_a_request_over_another_channel_erases_nobody(begin: Begin) -> None:
    """Another account's, a former one's, or one that we did not open: none is proof for this account."""
    world = begin(on_gdpr_request="forget")
    record_channel(world, "chn_2")

    assert gdpr(world) == ()

    assert world.types() == []
    assert world.services.ledger.account(world.sub).credentials is not None
