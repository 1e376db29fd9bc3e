"""`reconciler explain`: one event, live or from the ledger, and the answer for unknown ids."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.integration.ledgers import dump
from tests.integration.world import Begin, World
from worker.cli import cli
from worker.diagnosis.model import Cause
from worker.explain.case import Case, Delivery
from worker.explain.chronicle import following
from worker.explain.explanation import NotTracked, ask
from worker.intake import accept
from worker.intake.payloads import ConnectAccount
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import EventKey, Obstacle
from worker.run.delivery import send_mails


def offline(world: World, event_id: str = "e1") -> Case:
    """The case as the ledger alone knows it."""
    found = ask(
        world.services.settings, world.services.ledger.redis, world.sub, world.key(event_id), live=False
    )
    assert isinstance(found, Case)
    return found


def command(world: World, *arguments: str, live: bool = False) -> Result:
    """The command, configured with only the ledger, plus what a live read needs."""
    settings = world.services.settings
    environment: dict[str, str | None] = {
        "RECONCILER_REDIS_URL": settings.redis_url,
        "RECONCILER_KEY_PREFIX": settings.key_prefix,
    }
    if live:
        environment |= {
            "RECONCILER_VAULT_KEYS": settings.vault_keys[0].get_secret_value(),
            "RECONCILER_CRONOFY_CLIENT_ID": settings.cronofy_client_id,
            "RECONCILER_CRONOFY_CLIENT_SECRET": settings.cronofy_client_secret[0].get_secret_value(),
            "RECONCILER_CRONOFY_API_URL": settings.cronofy_api_url,
        }
    return CliRunner().invoke(cli, ["explain", *arguments], env=environment)


def test_offline_needs_neither_cronofy_nor_a_vault_key_and_changes_nothing(begin: Begin) -> None:
    """The last look's diagnosis, as in the contract, without a call."""
    world = begin()
    world.track()
    recorded = world.look()
    before, calls = dump(world.services.ledger), len(world.calls())

    result = command(world, world.sub, world.calendar_id, "e1", "--offline", "--json")

    assert (result.exit_code, json.loads(result.stdout)) == (0, recorded)
    assert (dump(world.services.ledger), len(world.calls())) == (before, calls)


def test_a_live_answer_is_current(begin: Begin) -> None:
    """The ledger still has what the last look saw; the two sentences and the evidence are current."""
    world = begin()
    world.track()
    world.look()
    world.control.disconnect_profile(world.sub, world.profiles[0])

    live = command(world, world.sub, world.calendar_id, "e1", live=True)

    assert live.exit_code == 0, live.output
    assert live.stdout.startswith("This account's Zoom connection has expired, so no link can be created")
    assert "Evidence, read just now" in live.stdout
    assert "will email a link to reconnect" in " ".join(live.stdout.split())
    assert offline(world).answer["cause"] == "generating"
    assert max(map(len, live.stdout.splitlines())) <= 80
    assert "\x1b" not in live.stdout


def test_without_what_a_live_read_needs_it_says_how_to_do_without(begin: Begin) -> None:
    """The missing setting is named, and so is the option."""
    world = begin()
    world.track()

    result = command(world, world.sub, world.calendar_id, "e1")

    assert result.exit_code == 1
    assert "RECONCILER_CRONOFY_CLIENT_ID" in str(result.exception)
    assert "--offline" in str(result.exception)


@pytest.mark.parametrize(
    ("hours", "fault", "cause"),
    [
        pytest.param(48, "reset", "generating", id="no answer"),
        pytest.param(48, "status", "generating", id="an error"),
        pytest.param(-1, "reset", "event_in_past", id="closed"),
    ],
)
def test_what_cannot_be_read_live_is_answered_from_the_ledger(
    begin: Begin, hours: float, fault: str, cause: str
) -> None:
    """The last diagnosis, with a note that it was not freshly read."""
    world = begin()
    world.track(hours=hours)
    world.look()
    world.control.add_fault(fault)

    found = ask(world.services.settings, world.services.ledger.redis, world.sub, world.key(), live=True)

    assert isinstance(found, Case)
    assert (found.answer["cause"], found.live) == (cause, False)
    assert found.answer["evidence"][-1].startswith("Not re-read: ")


@pytest.mark.parametrize("end", [Delivery.SENT, Delivery.REFUSED])
def test_the_relink_emails_progress_is_known(begin: Begin, end: Delivery) -> None:
    """Queued, while it is claimed and put off; then sent, or refused for good by the mail server."""
    world = begin()
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    outbox, known = world.services.outbox, [offline(world).delivery]

    [mail] = world.mails()
    outbox.later(mail.mail_id, timedelta(0))
    known.append(offline(world).delivery)
    if end is Delivery.SENT:
        outbox.sent(mail.mail_id)
    else:
        refusal = Outcome(OutcomeType.ESCALATED, world.sub, world.services.ledger.now())
        outbox.refused(mail.mail_id, "dana@example.org", "no such user", [refusal])
    known.append(offline(world).delivery)

    assert known == [Delivery.QUEUED, Delivery.QUEUED, end]


def test_an_email_about_a_profile_is_not_told_of_a_calendar(begin: Begin) -> None:
    """The event's profile lapsed and its user was asked; then its calendar itself was removed."""
    world = begin()
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    assert any("relink email" in sentence for sentence in following(offline(world)))

    world.control.remove_profile(world.sub, world.account["calendar_profiles"][0]["profile_id"])
    world.look()

    found = offline(world)
    assert (found.cause, found.calendar) == (Cause.CREDENTIALS_EXPIRED, "calendar")
    assert not any("relink email" in sentence for sentence in following(found))


def test_the_reason_for_no_email_is_remembered(begin: Begin) -> None:
    """The address given by the caller is invalid."""
    world = begin()
    tokens = {name: world.account[name] for name in ("refresh_token", "access_token")}
    payload = ConnectAccount(sub=world.sub, email="dana at example.org", **tokens)
    accept.connect_account(world.services, payload)
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])

    world.look()

    episode = offline(world).episode
    assert episode is not None
    assert episode.obstacle is Obstacle.BAD_ADDRESS


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"event": "booking-7"}, id="event"),
        pytest.param({"calendar": "cal_of_nobody"}, id="calendar"),
        pytest.param({"account": "acc_of_nobody"}, id="account"),
        pytest.param({"account": "{account}x", "calendar": "{calendar}x", "event": "boking-77"}, id="all"),
    ],
)
def test_an_untracked_event_gets_suggestions(begin: Begin, asked: dict[str, str]) -> None:
    """One letter too many, another calendar, another account: the command to type with the known ids."""
    world = begin()
    world.track("booking-77")
    ids = {"account": world.sub, "calendar": world.calendar_id, "event": "booking-77"}
    mistyped = ids | {name: value.format(**ids) for name, value in asked.items()}

    result = command(world, *mistyped.values(), "--offline")

    assert result.exit_code == 1
    assert "is not tracked" in result.stderr
    assert f"\n  reconciler explain {world.sub} {world.calendar_id} booking-77\n" in result.stderr


@pytest.mark.parametrize(
    ("ids", "said", "steps"),
    [
        ("{sub} other", "Nor was it in the last 7 d.", ["adopt {sub}"]),
        ("nobody other", "The account nobody is not known, either.", ["connect FILE", "track FILE"]),
        ("{sub} untracked", "It was, until it was untracked at ", ["track FILE"]),
    ],
    ids=["never tracked", "unknown account", "untracked"],
)
def test_it_says_whether_an_event_ever_was_tracked_and_what_to_type(
    begin: Begin, ids: str, said: str, steps: list[str]
) -> None:
    """As far as the history goes; adopting leaves alone what was untracked."""
    world = begin()
    world.track("e1")
    world.track("untracked")
    world.services.ledger.untrack(world.sub, world.key("untracked"))
    sub, event_id = ids.format(sub=world.sub).split()

    result = command(world, sub, world.calendar_id, event_id, "--offline")

    assert said in result.stderr
    told = result.stderr.partition("To have it watched:\n")[2].partition("\n\n")[0]
    assert told.splitlines() == [f"  reconciler {step.format(sub=world.sub)}" for step in steps]


def test_any_event_of_the_account_is_named_where_none_is_alike(begin: Begin) -> None:
    """Three at most; an empty ledger offers none."""
    world = begin()
    for number in range(5):
        world.track(f"e{number}")

    def nearest(sub: str, calendar_id: str) -> list[Any]:
        key = EventKey(calendar_id, "entirely-other")
        found = ask(world.services.settings, world.services.ledger.redis, sub, key, live=False)
        assert isinstance(found, NotTracked)
        return found.near

    assert len(nearest(world.sub, world.calendar_id)) == 3
    assert nearest("nobody-at-all", "elsewhere") == []


@pytest.mark.parametrize("settings", [{}, {"user_mail": "off"}], ids=["no mail server", "the application's"])
def test_nobody_is_told_of_an_email_that_was_not_sent(begin: Begin, settings: dict[str, Any]) -> None:
    """It is a file for want of a mail server, or left to the application."""
    world = begin(**settings)
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    send_mails(world.services)

    said = " ".join(command(world, world.sub, world.calendar_id, "e1", "--offline").stdout.split())

    assert "Please reconnect Zoom; the meeting link is then created automatically." in said
    assert "emailed" not in said
    assert "was not sent from here" in said
