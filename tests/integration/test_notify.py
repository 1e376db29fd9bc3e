"""Telling operators of incidents where they are: real requests of Apprise's, to receivers over loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from apprise.plugins import discord, opsgenie, pagerduty, slack

from config.logging import redaction_of
from config.settings import SettingsError
from tests.certificates import Certificate
from tests.integration.ledgers import dump
from tests.integration.test_incidents import removed, untrack_all
from tests.integration.world import Begin, World
from tests.receivers import Receiver, receiving
from tests.waiting import wait_until
from worker.bootstrap import notifiers_of
from worker.ledger.posts import any_due
from worker.run import delivery
from worker.run.delivery import notify_operators
from worker.run.telling import tell_incidents

#: Apprise's own, when it loads its plugins.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

QUICK = timedelta(milliseconds=20)
SECRET = "s3cretToken0123456789"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not taken is tried again at once."""
    for name in ("FIRST_WAIT", "LONGEST_WAIT", "REST"):
        monkeypatch.setattr(delivery, name, QUICK)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes everything, unless told otherwise."""
    with receiving(lambda _: 200, secret=None) as started:
        yield started


def at(receiver: Receiver, scheme: str, rest: str = "") -> str:
    """An address of Apprise's that leads to the receiver."""
    return f"{scheme}://{receiver.url.removeprefix('http://').removesuffix('/hook')}/{rest}"


def open_one(begin: Begin, **settings: Any) -> World:
    """An incident of two meetings opens, and is told."""
    world = removed(begin, 2, escalation_email=None, escalation_digest=0, **settings)
    tell_incidents(world.services)
    notify_operators(world.services)
    return world


def end(world: World) -> None:
    """It is over, and that is told."""
    untrack_all(world)
    tell_incidents(world.services)
    notify_operators(world.services)


def test_an_incident_is_told_when_it_opens_and_when_it_is_over(begin: Begin, receiver: Receiver) -> None:
    """Once each, under the same title; nothing that people wrote, no account, and no link that decides."""
    world = open_one(begin, escalation_urls=at(receiver, "json", SECRET), board_url="https://board.example")
    notify_operators(world.services)
    [opened] = receiver.got
    assert "2 meetings of 1 account need a person." in opened.json["message"]
    [incident] = world.services.ledger.incidents.open()
    for words in (
        f"reconciler list --incident {incident.incident_id}",
        f"https://board.example/incidents/{incident.incident_id}",
    ):
        assert words in opened.json["message"]
    assert not any(words in opened.body for words in ("Interview", world.sub, "/decide/"))

    end(world)
    notify_operators(world.services)

    _, over = receiver.got
    assert over.json["title"] == opened.json["title"]
    assert incident.incident_id in over.json["title"]
    assert (opened.json["type"], over.json["type"]) == ("failure", "success")
    assert over.json["message"].startswith("Over:")


def _slack(receiver: Receiver, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(slack.NotifySlack, "webhook_url", receiver.url)
    receiver.reply = "ok"
    return "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


def _discord(receiver: Receiver, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(discord.NotifyDiscord, "notify_url", receiver.url)
    return "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"


def _ntfy(receiver: Receiver, _: pytest.MonkeyPatch) -> str:
    return at(receiver, "ntfy", "conferencing")


def _pagerduty(receiver: Receiver, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(pagerduty, "PAGERDUTY_API_LOOKUP", {"us": receiver.url, "eu": receiver.url})
    return f"pagerduty://{SECRET}@{SECRET}"


def _opsgenie(receiver: Receiver, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(opsgenie, "OPSGENIE_API_LOOKUP", {"us": receiver.url, "eu": receiver.url})
    receiver.reply = json.dumps({"result": "done", "took": 0.1, "requestId": "4321"})
    return "opsgenie://a1b2c3d4-a1b2-c3d4-a1b2-a1b2c3d4a1b2"


@pytest.mark.parametrize("service", [_slack, _discord, _ntfy, _pagerduty, _opsgenie])
def test_each_service_is_told_of_both(
    begin: Begin,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    service: Callable[[Receiver, pytest.MonkeyPatch], str],
) -> None:
    """By its own requests; one that has alerts has this one opened and closed, also by another process."""
    url = service(receiver, monkeypatch)
    world = open_one(begin, escalation_urls=url)
    assert len(receiver.got) == 1
    assert "need a person" in receiver.got[0].body

    # As another process does, which has only what the first one kept on this host.
    services = replace(world.services, notifiers=notifiers_of(world.services.settings))
    world.services = services
    end(world)

    assert len(receiver.got) == 2
    opened, over = receiver.got
    if service is _pagerduty:
        assert (opened.json["event_action"], over.json["event_action"]) == ("trigger", "resolve")
        assert opened.json["dedup_key"] == over.json["dedup_key"]
    elif service is _opsgenie:
        assert opened.path == "/hook"
        assert over.path.startswith("/hook/4321/close")
    else:
        assert "nobody has to help" in over.body


@pytest.mark.parametrize(
    ("query", "path"), [("", "/workflows/"), ("?pa=yes", "/powerautomate/automations/direct/workflows/")]
)
def test_teams_is_told_of_both_by_a_workflow(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, query: str, path: str
) -> None:
    """Over TLS, at either of the addresses that Teams gives its workflows; as a card with the same title."""
    made = Certificate.made(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.path))
    with receiving(lambda _: 202, secret=None, tls=made) as teams:
        host = teams.url.removeprefix("https://").removesuffix("/hook")
        world = open_one(begin, escalation_urls=f"workflows://{host}/643e69f83c89/{SECRET}{query}")
        end(world)

        opened, over = teams.got
    for each, words in ((opened, "need a person"), (over, "nobody has to help")):
        assert each.path.startswith(f"{path}643e69f83c89/triggers/manual/paths/invoke?")
        assert f"sig={SECRET}" in each.path
        [card] = each.json["attachments"]
        title, body = (block["text"] for block in card["content"]["body"] if block["type"] == "TextBlock")
        assert "incident" in title
        assert words in body


@pytest.mark.parametrize("path", ["", "/powerautomate/automations/direct"])
def test_the_address_that_teams_shows_is_understood_as_it_is(begin: Begin, path: str) -> None:
    """Nobody has to take it apart."""
    query = f"api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig={SECRET}"
    url = f"https://prod-161.westeurope.logic.azure.com:443{path}/workflows/643e69/triggers/manual/paths/invoke?{query}"

    world = begin(escalation_urls=url)

    assert [each.service for each in world.services.notifiers] == [
        "1 (Power Automate / Workflows (for MSTeams))"
    ]


def test_what_is_not_taken_is_told_later_and_holds_up_no_other_address(
    begin: Begin, receiver: Receiver
) -> None:
    """Each address has its own order: opened comes before over."""
    with receiving(lambda _: 200, secret=None) as other:
        receiver.answer = lambda _: 503
        urls = f"{at(receiver, 'json')},{at(other, 'json')}"
        world = open_one(begin, escalation_urls=urls)
        end(world)
        ledger = world.services.ledger
        assert len(other.taken) == 2
        wait_until(lambda: any_due(ledger.redis, ledger.keys, ledger.now()), what="the next try to be due")

        receiver.answer = lambda _: 200
        wait_until(lambda: notify_operators(world.services) and len(receiver.taken) == 2, what="both")

        assert [each["type"] for each in receiver.taken] == ["failure", "success"]
        assert len(other.taken) == 2
        assert not any_due(ledger.redis, ledger.keys, ledger.now())


def test_a_new_address_is_not_told_of_old_incidents(begin: Begin, receiver: Receiver) -> None:
    """It begins with what is new."""
    world = open_one(begin)
    end(world)
    ledger = world.services.ledger
    told = [o for o in world.outcomes() if o["type"].startswith("incident")]
    ledger.redis.delete(ledger.keys.outcomes)
    ledger.redis.xadd(ledger.keys.outcomes, {"outcome": json.dumps(told[0])}, id="1-1")
    ledger.redis.xadd(ledger.keys.outcomes, {"outcome": json.dumps(told[1])})

    later = begin(escalation_urls=at(receiver, "json"))
    notify_operators(later.services)

    assert [each["type"] for each in receiver.taken] == ["success"]


@pytest.mark.parametrize("how", ["dry run", "paused"])
def test_nobody_is_told_in_a_dry_run_or_a_pause(begin: Begin, receiver: Receiver, how: str) -> None:
    """As with email; what came meanwhile follows after a pause."""
    world = removed(
        begin, escalation_digest=0, escalation_urls=at(receiver, "json"), dry_run=how == "dry run"
    )
    tell_incidents(world.services)
    world.services.ledger.set_paused(how == "paused")

    notify_operators(world.services)
    assert receiver.got == []

    world.services.ledger.set_paused(False)
    notify_operators(world.services)
    assert len(receiver.got) == (1 if how == "paused" else 0)


def test_an_address_is_a_secret(
    begin: Begin, receiver: Receiver, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is in no log, repr, or key of the ledger; a line names its place and its service."""
    receiver.answer = lambda _: 500
    url = at(receiver, "json", SECRET)
    world = open_one(begin, escalation_urls=url)

    assert url not in redaction_of(world.services.settings).mask(f"at {url}!")
    shown = "".join(capfd.readouterr()) + repr(world.services.settings)
    assert "the service did not take the notification" in shown
    assert "1 (JSON)" in shown
    assert SECRET not in shown
    assert not [
        key for key, value in dump(world.services.ledger).items() if SECRET.encode() in key + (value or b"")
    ]


@pytest.mark.parametrize("url", ["nonsense://host/s3cret", "slack://s3cret"])
def test_an_address_that_nobody_understands_stops_the_start(begin: Begin, url: str) -> None:
    """By its place, without repeating it."""
    with pytest.raises(SettingsError, match=r"^RECONCILER_ESCALATION_URLS: .* address 2\.$") as refused:
        begin(escalation_urls=f"json://localhost/ {url}")

    assert "s3cret" not in str(refused.value)
