"""A message that was carried out but not acknowledged is delivered again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.integration.world import Begin, beginning
from worker.intake import accept
from worker.intake.payloads import ConnectAccount, TrackEvent


@pytest.fixture
def begin(redis_url: str, prefix: str, tmp_path: Path) -> Iterator[Begin]:
    """Starts a world in which conferences come at once."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0, generation_seconds=0)) as running:
        yield from beginning(running, redis_url, prefix, tmp_path)


def test_a_redelivered_track_changes_nothing(begin: Begin) -> None:
    """The event stays settled and publishes nothing twice; a caller can still track it again."""
    world = begin()
    body = world.track()
    world.look()
    same = TrackEvent(sub=world.sub, calendar_id=world.calendar_id, event=body, provider_name="zoom")

    accept.track(world.services, same, again=True)
    delivered_again = (world.standing(), world.types())
    accept.track(world.services, same)

    assert delivered_again == (set(), ["assigned"])
    assert world.standing() == {"waiting"}


def test_a_redelivered_track_with_another_body_is_carried_out(begin: Begin) -> None:
    """Redelivered or not: the record is what the caller wrote."""
    world = begin()
    body = world.track()

    changed = {**body, "summary": "Another"}
    accept.track(
        world.services, TrackEvent(sub=world.sub, calendar_id=world.calendar_id, event=changed), again=True
    )

    assert world.stored().event.body["summary"] == "Another"


def test_a_repeated_connect_is_published_once(begin: Begin) -> None:
    """The credentials are there already."""
    world = begin()
    ledger = world.services.ledger
    tokens = {name: world.account[name] for name in ("refresh_token", "access_token")}

    accept.connect_account(world.services, ConnectAccount(sub=world.sub, **tokens), again=True)

    assert ledger.redis.xlen(f"{ledger.prefix}:outcomes") == 1
