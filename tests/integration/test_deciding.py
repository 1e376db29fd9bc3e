"""Deciding about an incident: by the link in its email, by the board's form, and many of them at once."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from httpx import Response

from tasks.urgent import decide
from tests.integration.ledgers import an_event
from tests.integration.test_board import TOKEN, ask
from tests.integration.test_incidents import OPERATOR, look, only, removed, subjects
from tests.integration.world import Begin, World, set_environment
from worker.cli import cli
from worker.intake.payloads import DecideIncident
from worker.ledger.ledger import Connecting, Credentials
from worker.ledger.lists import incident_list
from worker.mail.compose import read_back
from worker.mail.decision_links import GOOD_FOR, decision_url
from worker.run import looks

BOARD = "https://board.example.org"


def sent(world: World) -> list[dict[str, Any]]:
    """What was handed to the workers, urgently."""
    ledger = world.services.ledger
    messages: Any = ledger.redis.lrange(f"{ledger.prefix}.urgent", 0, -1)
    ledger.redis.delete(f"{ledger.prefix}.urgent")
    return [json.loads(base64.b64decode(json.loads(each)["body"]))[1] for each in messages]


def carry_out(world: World) -> dict[str, Any]:
    """Work on the one decision that was handed over."""
    [kwargs] = sent(world)
    answer, unfinished = decide(world.services, DecideIncident(**kwargs))
    assert not unfinished
    return answer


@pytest.fixture
def world(begin: Begin) -> World:
    """Two events of a removed profile, and another one has come since."""
    found = removed(begin, 0, board_url=BOARD, board_token=TOKEN)
    found.track("e0")
    found.track("e1", hours=72)
    for name in ("lee", "kim"):
        found.control.add_conferencing_profile(
            found.sub, provider_name="zoom", profile_id=f"pro_{name}", profile_name=name.title()
        )
    looks.reconcile_account(found.services, found.sub)
    return found


def path_of(world: World) -> str:
    """The link of the incident's email, without the board's address."""
    [mail] = world.mails()
    text = str(read_back(mail.message).get_body(("plain",)).get_content())  # type: ignore[union-attr]
    [path] = re.findall(rf"^{BOARD}(/decide/\S+)", text, re.M)
    return str(path)


def post(world: World, path: str, **fields: str) -> Response:
    return ask(world.services.settings, path, method="POST", data=fields, headers={})


def choice(world: World, to: str = "pro_lee") -> dict[str, str]:
    return {"what": "choose", "account0": world.sub, "profile0": world.profiles[0], "to0": to}


def test_the_link_of_an_email_decides_once(world: World) -> None:
    """Opening it changes nothing; who decided and when stands in the history, the incident's too."""
    path = path_of(world)

    assert ask(world.services.settings, path, method="HEAD", headers={}).status_code == 200
    shown = ask(world.services.settings, path, headers={})
    assert (shown.status_code, sent(world)) == (200, [])
    assert "Zoom, Lee (pro_lee)" in shown.text
    assert "good for one decision" in shown.text
    done = post(world, path, **choice(world), by="dana")
    assert (done.status_code, "Decided" in done.text) == (200, True)
    assert carry_out(world)["chosen"] == 1
    assert looks.look_at_ready(world.services, 10).looked_at == 1

    assert {write["event_id"] for write in world.writes()} == {"e0", "e1"}
    assert [o["detail"]["chosen_by"] for o in world.outcomes() if o["type"] == "reassigned"] == [
        "dana, by link"
    ] * 2
    chosen = [done for _, what, done in world.stored("e0").event.history if what == "chosen"]
    assert chosen == ["pro_lee, by dana, by link"]
    [said] = only(world.services.ledger).said
    assert (said.by, said.what) == ("dana, by link", "chose for 1 removed profile: zoom")


def test_a_link_that_was_used_does_nothing_and_says_so(world: World) -> None:
    """By whomever, for whatever."""
    path = path_of(world)
    post(world, path, what="acknowledge", note="asked them")
    assert carry_out(world)["acknowledged"] == 2

    again = post(world, path, **choice(world))

    assert (again.status_code, sent(world)) == (409, [])
    assert "was used before; nothing was done now" in again.text
    shown = ask(world.services.settings, path, headers={})
    assert "was used before" in shown.text
    assert "acknowledged 2 events: asked them" in shown.text
    assert f"{OPERATOR}, by link" in shown.text


def test_a_link_that_was_changed_or_is_old_does_nothing_and_says_so(world: World) -> None:
    """So does one about an incident that is over, or forgotten."""
    ledger, path = world.services.ledger, path_of(world)
    incident = only(ledger)

    def link(incident_id: str, age: timedelta = timedelta(0)) -> str:
        made = decision_url(BOARD, ledger.vault, incident_id, OPERATOR, ledger.now() - age)
        return made.removeprefix(BOARD)

    assert ask(world.services.settings, link(incident.incident_id), headers={}).status_code == 200
    for changed, status, said in [
        (path[:-9] + "AAAA" + path[-5:], 404, "does not work"),
        ("/decide/anything", 404, "does not work"),
        (link(incident.incident_id, GOOD_FOR + timedelta(minutes=1)), 410, "too old"),
        (link("0123456789"), 410, "not known any more"),
    ]:
        for answer in (
            ask(world.services.settings, changed, headers={}),
            post(world, changed, **choice(world)),
        ):
            assert (answer.status_code, said in answer.text) == (status, True)
            assert "Nothing was done." in answer.text
    assert sent(world) == []
    for stored in ledger.pending(world.sub):
        ledger.untrack(world.sub, stored.event.key)
    assert subjects(world) == ["Over: profile removed (Zoom), 2 meetings"]
    assert "This incident is over" in post(world, path, **choice(world)).text
    assert sent(world) == []


def test_what_no_task_takes_does_not_use_the_link_up(world: World) -> None:
    """Nor does another site's form."""
    path = path_of(world)

    assert post(world, path, **choice(world, to="")).status_code == 400
    foreign = ask(
        world.services.settings,
        path,
        method="POST",
        data=choice(world),
        headers={"Sec-Fetch-Site": "cross-site"},
    )

    assert foreign.status_code == 403
    assert post(world, path, **choice(world)).status_code == 200


def test_a_link_decides_about_its_own_incident_alone(world: World) -> None:
    """A profile that is not in it, and what is not possible, are left."""
    path = path_of(world)
    other = world.another()
    fields = choice(world, "pro_nobodys") | {
        "account1": other.sub,
        "profile1": other.profiles[0],
        "to1": "default",
    }

    post(world, path, **fields)

    assert carry_out(world) == {"chosen": 0, "acknowledged": 0, "left": 1, "reason": None}
    assert world.services.ledger.account(other.sub).choices == ()


def test_the_boards_form_decides_too(world: World) -> None:
    """For who is signed in, with the page's own form."""
    settings, incident = world.services.settings, only(world.services.ledger)
    path = f"/incidents/{incident.incident_id}"

    assert incident.incident_id in ask(settings, "/incidents").text
    shown = ask(settings, path).text
    form = re.findall('name="form" value="([0-9a-f]+)"', shown)[0]
    assert ask(settings, path, method="POST", data=choice(world)).status_code == 403
    assert ask(settings, path, headers={}).status_code == 401
    done = ask(settings, path, method="POST", data={**choice(world), "form": form, "by": "dana"})

    assert (done.status_code, done.headers["location"]) == (303, f"{path}?sent=")
    assert carry_out(world)["chosen"] == 1
    assert "dana chose for 1 removed profile: zoom" in ask(settings, path).text
    assert ask(settings, "/incidents/none").status_code == 404


def test_a_large_incident_says_how_large_it_is_at_least(world: World) -> None:
    """In numbers that can be read, with a space before each."""
    settings, ledger, incident = world.services.settings, world.services.ledger, only(world.services.ledger)
    name = ledger.keys.list(incident_list(incident.incident_id))
    ledger.redis.zadd(name, {b"5:acc%02d%d" % (n % 12, n): 9e14 + n for n in range(1200)})

    listed, shown = (ask(settings, f"/incidents{of}").text for of in ("", f"/{incident.incident_id}"))

    assert '<td data-label="accounts">at least 13</td>' in listed
    assert '<td data-label="events" class="number">1,202</td>' in listed
    assert ">1,202</a> of at least 13 accounts" in shown
    assert "Nobody is told of its 1,202 events again" in shown


def test_an_events_page_chooses_for_it(world: World) -> None:
    """For it alone, or for all of its profile."""
    settings = world.services.settings
    ids = {"account": world.sub, "calendar": world.calendar_id, "event": "e0"}
    form = re.findall('name="form" value="([0-9a-f]+)"', ask(settings, "/board/event", params=ids).text)[0]
    data = {**ids, "form": form, "profile": world.profiles[0], "to": "pro_kim"}

    ask(settings, "/board/choose", method="POST", data={**data, "which": "one"})
    ask(settings, "/board/choose", method="POST", data={**data, "which": "all", "by": "dana"})

    common = {"sub": world.sub, "profile_id": world.profiles[0], "to_profile_id": "pro_kim"}
    assert sorted(sent(world), key=len) == [
        {**common, "by": "dana"},
        {**common, "by": "board", "calendar_id": world.calendar_id, "event_id": "e0"},
    ]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command on a world's ledger; returns what it prints."""

    def run(world: World, *arguments: str) -> str:
        set_environment(world, monkeypatch)
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    return run


CHOOSE, ACKNOWLEDGE = ("choose", "--to", "default", "--yes"), ("acknowledge", "--note", "on it")


@pytest.mark.parametrize("words", [CHOOSE, ACKNOWLEDGE], ids=["choose", "acknowledge"])
def test_one_command_settles_many_accounts(
    begin: Begin, command: Callable[..., str], words: tuple[str, ...], many: int
) -> None:
    """One email when it opens, one command, one email when it is over."""
    world = begin(escalation_email=OPERATOR)
    ledger = world.services.ledger
    for number in range(many):
        ledger.connect(Connecting(f"acc_{number}", Credentials("refresh"), "us", None, None))
        ledger.track(f"acc_{number}", an_event(hours=24 + number))
        look(ledger, f"acc_{number}")
    [opened] = subjects(world)

    said = command(world, words[0], "--incident", only(ledger).incident_id, *words[1:])

    assert opened.startswith(f"{many} meetings need a person: profile removed (Zoom)")
    assert (f"Chosen for {many} removed profiles" in said) or said == f"{many} events acknowledged.\n"
    chosen = [ledger.account(f"acc_{number}").choices for number in range(many)]
    assert all(chosen) is (words is CHOOSE)
    assert subjects(world) == [f"Over: profile removed (Zoom), {many} meetings"]


@pytest.mark.parametrize("words", [CHOOSE, ACKNOWLEDGE], ids=["choose", "acknowledge"])
def test_one_command_settles_many_events_of_a_profile(
    begin: Begin, command: Callable[..., str], words: tuple[str, ...], many: int
) -> None:
    """The looks that follow set what was chosen on each of them."""
    world = removed(begin, many, api_per_second=10_000, api_per_minute=100_000)
    [opened] = subjects(world)

    command(world, words[0], "--incident", only(world.services.ledger).incident_id, *words[1:])
    while looks.look_at_ready(world.services, 10).looked_at:
        pass

    assert opened.startswith(f"{many} meetings need a person: profile removed (Zoom)")
    assert len({write["event_id"] for write in world.writes()}) == (many if words is CHOOSE else 0)
    assert subjects(world) == [f"Over: profile removed (Zoom), {many} meetings"]
