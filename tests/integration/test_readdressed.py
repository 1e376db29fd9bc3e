"""A relink email that its address refused for good, and the address that the caller gives instead."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.integration.world import Begin, World
from worker.intake import accept
from worker.intake.payloads import ConnectAccount
from worker.run import looks
from worker.run.delivery import send_mails

RIGHT, WRONG = "dana@example.org", "dane@example.org"


def connect(world: World, email: str | None) -> None:
    """Connect the account again with this address."""
    tokens = {name: world.account[name] for name in ("refresh_token", "access_token")}
    accept.connect_account(world.services, ConnectAccount(sub=world.sub, email=email, **tokens))


def sweep(world: World) -> None:
    """Look at what is due, and send what comes of it."""
    world.services.ledger.promote(10)
    looks.look_at_ready(world.services, 10)
    send_mails(world.services)


def received(world: World) -> list[Any]:
    """Whom each email that arrived was sent to."""
    return [mail["to"] for mail in world.control.mail()]


def asking(begin: Begin, running: RunningSandbox, email: str) -> World:
    """A world whose user is to be asked for a profile, at this address."""
    world = begin(3, smtp_url=running.smtp_url)
    connect(world, email)
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    return world


def test_a_corrected_address_gets_at_once_what_the_former_refused(
    begin: Begin, running: RunningSandbox
) -> None:
    """At the next sweep, once; it is published again, and reminders are timed as before."""
    world = asking(begin, running, WRONG)
    world.control.set_mailbox(refuse_status=550, refuse_at="recipient")
    send_mails(world.services)
    assert world.types() == ["relink_requested", "mail_refused", "escalated"]
    world.control.set_mailbox()
    began = world.services.ledger.account(world.sub).memo.episodes[world.profiles[0]]

    connect(world, WRONG)
    connect(world, None)
    assert world.standing() == {"waiting"}
    world.look()
    assert (send_mails(world.services), received(world)) == (0, [])
    connect(world, RIGHT)
    assert world.standing() == {"ready"}
    sweep(world)
    world.look()
    sweep(world)

    assert received(world) == [[RIGHT]]
    assert world.types() == ["relink_requested", "mail_refused", "escalated", "relink_requested"]
    _, _, refused, again = world.outcomes()
    assert again["detail"]["event_ids"] == ["e1"]
    episode = world.services.ledger.account(world.sub).memo.episodes[world.profiles[0]]
    assert episode.mail_ids == (refused["detail"]["mail_id"], again["detail"]["mail_id"])
    assert (episode.started_at, episode.mails) == (began.started_at, began.mails)


def test_an_address_given_for_an_invalid_one_is_used_at_once(begin: Begin, running: RunningSandbox) -> None:
    """Where no email could be sent at all."""
    world = asking(begin, running, "dana at example.org")
    assert world.types() == ["escalated"]

    connect(world, RIGHT)
    sweep(world)

    assert received(world) == [[RIGHT]]


@pytest.mark.parametrize("how", ["delivered", "refused by an earlier release"])
def test_another_address_gets_no_second_email_without_a_refusal(
    begin: Begin, running: RunningSandbox, how: str
) -> None:
    """What arrived is not repeated; nor is what was refused before refusals named their address."""
    world = asking(begin, running, WRONG)
    send_mails(world.services)
    if how != "delivered":
        [asked] = world.outcomes()
        ledger = world.services.ledger
        ledger.redis.set(ledger.keys.refused(asked["detail"]["mail_id"]), 1_795_907_597_543)

    connect(world, RIGHT)
    sweep(world)

    assert received(world) == [[WRONG]]


def test_another_address_concerns_only_those_who_were_asked(begin: Begin, running: RunningSandbox) -> None:
    """Otherwise nothing becomes due."""
    world = begin(3, smtp_url=running.smtp_url)
    connect(world, WRONG)
    world.track()
    world.look()

    connect(world, RIGHT)

    assert world.standing() == {"waiting"}
