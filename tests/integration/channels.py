"""Helpers for tests of notification channels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.integration.world import World
from worker.cronofy.signature import signature_of
from worker.intake import accept
from worker.intake.payloads import ReceiveNotification
from worker.ledger.records import NotificationChannel
from worker.run import looks

URL = "https://hooks.example.com"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module; its notifications are not sent, so no channel is closed for failures."""
    with RunningSandbox(SandboxOptions(generation_seconds=3600, notify_loss=1.0)) as sandbox:
        yield sandbox


def tend(world: World) -> None:
    """Look at everything ready, as the sweep would."""
    looks.look_at_ready(world.services, 100)


def channel_of(world: World) -> NotificationChannel | None:
    """The ledger's record of the channel."""
    return world.services.ledger.account(world.sub).channel


def open_at_cronofy(world: World) -> list[str]:
    """The addresses of the account's open channels."""
    return [str(channel["callback_url"]) for channel in world.control.channels(world.sub)]


def age(world: World, **ago: float) -> None:
    """As if the channel was last known to be open this long ago."""
    ledger = world.services.ledger
    then = ledger.now() - timedelta(**ago)
    ledger.redis.hset(f"{ledger.prefix}:account:{world.sub}", "channel_seen", then.timestamp() * 1000)


def notify(world: World, kind: str, channel_id: str | None = None) -> tuple[str, ...]:
    """Receive a notification of the account's channel; returns the accounts to look at."""
    channel = {"channel_id": channel_id or world.control.channels(world.sub)[0]["channel_id"]}
    since = {"changes_since": world.services.ledger.now().isoformat()} if kind == "change" else {}
    body = json.dumps({"notification": {"type": kind, **since}, "channel": channel})
    signature = signature_of(body.encode(), "sandbox-secret")
    taken = accept.receive_notification(
        world.services, ReceiveNotification(body=body, signature=signature, sub=world.sub)
    )
    return tuple(sub for sub, _ in taken or ())
