"""An address that a mail server refuses for good: told once, and shown until it is resolved."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.integration.test_incidents import untrack_all
from tests.integration.test_readdressed import RIGHT, WRONG, asking, connect
from tests.integration.world import Begin, World
from worker.intake import accept
from worker.intake.payloads import AccountOnly
from worker.run.delivery import send_mails
from worker.run.telling import tell_incidents
from worker.status.snapshot import read_status
from worker.trouble import Kind
from worker.web.board.overview import read_overview


def refusals(world: World) -> list[dict[str, Any]]:
    """What `status --json` says of refused addresses."""
    mail = read_status(world.services.ledger.redis, world.services.settings).as_json["mail"]
    assert mail["refused_addresses"] == len(mail["refusals"])
    return list(mail["refusals"])


def attention(world: World) -> list[str]:
    """What the board says of them."""
    found = read_overview(world.services.ledger, world.services.settings).attention
    return [each.sentence for each in found if each.kind is Kind.ADDRESS_REFUSED]


@pytest.fixture
def refused(begin: Begin, running: RunningSandbox) -> World:
    """A world whose user's address was refused."""
    world = asking(begin, running, WRONG)
    world.control.set_mailbox(refuse_status=550, refuse_at="recipient")
    send_mails(world.services)
    return world


def test_a_refused_address_is_an_outcome_with_the_address_masked(refused: World) -> None:
    """And an escalation, and what needs attention."""
    requested, told, escalated = refused.outcomes()

    assert told["type"] == "mail_refused"
    assert told["detail"]["mail_id"] == requested["detail"]["mail_id"]
    assert (told["detail"]["kind"], told["detail"]["address"]) == ("relink", "d***@example.org")
    assert "550" in told["detail"]["reason"]
    assert escalated["type"] == "escalated"
    [shown] = refusals(refused)
    assert (shown["sub"], shown["address"]) == (refused.sub, "d***@example.org")
    [sentence] = attention(refused)
    assert "d***@example.org" in sentence
    assert WRONG not in str((told, shown, sentence))


def test_a_person_is_told_once_of_an_address(refused: World) -> None:
    """However many letters to it are refused; each is an outcome."""
    for number in range(2):
        refused.track(f"again-{number}", profile=refused.profiles[number + 1])
        refused.control.disconnect_profile(refused.sub, refused.profiles[number + 1])
        refused.look(f"again-{number}")
        send_mails(refused.services)

    types = refused.types()
    assert types.count("mail_refused") == 3
    assert types.count("escalated") == 1
    assert len(refusals(refused)) == 1


def _readdress(world: World) -> None:
    connect(world, RIGHT)


def _relink(world: World) -> None:
    world.control.reconnect_profile(world.sub, world.profiles[0])
    world.look()


def _send(world: World) -> None:
    world.control.set_mailbox()
    world.track("e2", profile=world.profiles[1])
    world.control.disconnect_profile(world.sub, world.profiles[1])
    world.look("e2")
    assert send_mails(world.services) == 1


def _forget(world: World) -> None:
    accept.forget_account(world.services, AccountOnly(sub=world.sub))


@pytest.mark.parametrize("how", [_readdress, _relink, _send, _forget])
def test_it_is_shown_until_it_is_resolved(refused: World, how: Any) -> None:
    """By another address, by the user, by a letter that was taken, or with the account."""
    connect(refused, WRONG)
    refused.look()
    assert len(refusals(refused)) == 1

    how(refused)

    assert refusals(refused) == []
    assert attention(refused) == []


def test_the_operators_own_address_is_named_as_such(begin: Begin, running: RunningSandbox) -> None:
    """It is apart from the account's."""
    world = begin(smtp_url=running.smtp_url, escalation_email="ops@example.org", escalation_digest=0)
    world.control.set_mailbox(refuse_status=550, refuse_at="recipient")
    world.track()
    world.notify("e1", "conferencing_failing", "missing_meeting_url")
    world.look()
    tell_incidents(world.services)

    send_mails(world.services)

    [shown] = refusals(world)
    assert (shown["sub"], shown["address"]) == (None, "o***@example.org")
    assert "for escalations" in attention(world)[0]
    assert [o["detail"]["kind"] for o in world.outcomes() if o["type"] == "mail_refused"] == ["operator"]
    world.control.set_mailbox()
    untrack_all(world)
    tell_incidents(world.services)
    assert send_mails(world.services) == 1
    assert refusals(world) == []
