"""A message that was carried out but not acknowledged is delivered again."""

from __future__ import annotations

from tests.integration.world import Begin
from worker.intake import accept
from worker.intake.payloads import ConnectAccount, TrackEvent


def test_a_redelivered_track_changes_nothing(quick: Begin) -> None:
    """The event stays settled and publishes nothing twice; a caller can still track it again."""
    world = quick()
    body = world.track()
    world.look()
    same = TrackEvent(sub=world.sub, calendar_id=world.calendar_id, event=body, provider_name="zoom")

    accept.track(world.services, same, again=True)
    delivered_again = (world.standing(), world.types())
    accept.track(world.services, same)

    assert delivered_again == (set(), ["assigned"])
    assert world.standing() == {"waiting"}


def test_a_redelivered_track_with_another_body_is_carried_out(quick: Begin) -> None:
    """Redelivered or not: the record is what the caller wrote."""
    world = quick()
    body = world.track()
    changed = TrackEvent(sub=world.sub, calendar_id=world.calendar_id, event={**body, "summary": "Another"})

    accept.track(world.services, changed, again=True)

    assert world.stored().event.body["summary"] == "Another"


def test_a_repeated_connect_is_published_once(quick: Begin) -> None:
    """The credentials are there already."""
    world = quick()
    ledger = world.services.ledger
    tokens = {name: world.account[name] for name in ("refresh_token", "access_token")}

    accept.connect_account(world.services, ConnectAccount(sub=world.sub, **tokens), again=True)

    assert ledger.redis.xlen(f"{ledger.prefix}:outcomes") == 1
