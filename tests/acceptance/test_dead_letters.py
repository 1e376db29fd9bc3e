"""Dead letters as an operator sees them: listed, read, corrected, replayed, dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from tests.acceptance.harness import Fleet, zoom
from tests.acceptance.processes import run_command
from tests.waiting import wait_until
from worker.cli import cli


@pytest.fixture
def clean_fleet(quiet_fleet: Fleet) -> Iterator[Fleet]:
    quiet_fleet.redis.delete("reconciler:dead-letters")
    yield quiet_fleet
    quiet_fleet.redis.delete("reconciler:dead-letters")


def dead_letters(fleet: Fleet, *args: str, **settings: str) -> Result:
    """Run the command in this process, which takes a fraction of the time; `replay` needs one of its own."""
    env = fleet.env | {f"RECONCILER_{name}": value for name, value in settings.items()}
    return CliRunner().invoke(cli, ["dead-letters", *args], env=env)


def listed(fleet: Fleet, **settings: str) -> Any:
    """The list, as in the contract."""
    ran = dead_letters(fleet, "--json", **settings)
    assert ran.exit_code == 0, ran.stderr
    return json.loads(ran.stdout)


def refuse(fleet: Fleet, **kwargs: Any) -> str:
    """Have a `track` refused; returns the dead letter's id."""
    fleet.caller.failure("track", **kwargs)
    return ids(fleet)[-1]


def ids(fleet: Fleet) -> list[str]:
    """The ids of all dead letters, newest last: faster to read here than with a command."""
    entries: Any = fleet.redis.xrange("reconciler:dead-letters")
    return [letter_id.decode() for letter_id, _ in entries]


def test_a_refused_payload_can_be_corrected_and_replayed(clean_fleet: Fleet) -> None:
    """Replayed unchanged it comes back with its reason; with one argument replaced it is carried out."""
    person = clean_fleet.person(zoom("pro_zoom"))
    event = {"event_id": 7, "summary": "Planning", "conferencing": {"profile_id": "pro_zoom"}}
    refuse(clean_fleet, sub=person.sub, calendar_id=person.calendar_id, event=event)
    [kept] = listed(clean_fleet)
    assert list(kept) == ["id", "task", "reason", "at", "kwargs"]
    assert kept["task"] == "conferencing.track"
    assert "event.event_id" in kept["reason"]
    assert kept["kwargs"]["event"] == event

    assert clean_fleet.run("dead-letters", "replay", "--all").returncode == 0

    wait_until(
        lambda: ids(clean_fleet) not in ([], [kept["id"]]), 10, 0.1, what="the dead letter to come back"
    )
    [back] = listed(clean_fleet)
    assert (back["reason"], back["kwargs"]) == (kept["reason"], kept["kwargs"])
    ran = clean_fleet.run("dead-letters", "replay", back["id"], "--set", 'event.event_id="seven"')
    assert (ran.returncode, ran.stdout) == (0, f"{back['id']} conferencing.track sent again\n")
    wait_until(lambda: person.explain("seven"), 10, 0.1, what="the event to be tracked")
    assert ids(clean_fleet) == []


def test_secrets_are_masked_and_still_replayed(clean_fleet: Fleet) -> None:
    """No command prints a token, even under a misspelt name; a surplus argument can be dropped."""
    sub, token = f"acc_{uuid4().hex}", f"token-{uuid4().hex}"
    clean_fleet.caller.failure(
        "connect_account", sub=sub, refresh_token=token, refreshtoken=token, name="Dana"
    )

    [letter] = listed(clean_fleet)
    printed = dead_letters(clean_fleet, "show", letter["id"]).stdout + dead_letters(clean_fleet).stdout

    assert letter["kwargs"] == {"sub": sub, "refresh_token": "***", "refreshtoken": "***", "name": "Dana"}
    assert sub in printed
    assert token not in printed
    assert clean_fleet.run("dead-letters", "replay", letter["id"], "--unset", "refreshtoken").returncode == 0
    wait_until(lambda: clean_fleet.redis.exists(f"reconciler:account:{sub}"), 10, 0.1, what="the account")


def test_the_table_fits_a_terminal_of_eighty_columns(clean_fleet: Fleet) -> None:
    """Long reasons are wrapped; ids stay whole, to be copied."""
    event = {"event_id": "e", "start": "x" * 300}
    kept = [refuse(clean_fleet, sub="acc", calendar_id="cal", event=event) for _ in range(3)]

    ran = dead_letters(clean_fleet, "list", "--limit", "2")

    lines = ran.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if "-0 " in line or "-1 " in line] == kept[1:]
    assert "3 in all" in ran.stdout


def test_an_unknown_id_changes_nothing_and_names_the_nearest(clean_fleet: Fleet) -> None:
    """One wrong digit among valid ids."""
    kept = refuse(clean_fleet, sub="acc", calendar_id="cal", event={})
    wrong = kept[:-3] + ("1" if kept[-3] != "1" else "2") + kept[-2:]

    said = [clean_fleet.run("dead-letters", "replay", kept, wrong).stderr]
    for args in (("drop", kept, wrong, "--yes"), ("show", wrong)):
        answer = dead_letters(clean_fleet, *args)
        assert answer.exit_code == 1
        said.append(answer.stderr)
    assert all(f"There is no dead letter {wrong}; the nearest is {kept}." in each for each in said)
    assert ids(clean_fleet) == [kept]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("VAULT_KEYS", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", " left: "),
        ("BROKER_URL", "redis://127.0.0.1:1/0", "The broker does not accept"),
    ],
    ids=["no key fits", "no broker"],
)
def test_what_cannot_be_replayed_stays(clean_fleet: Fleet, setting: str, value: str, message: str) -> None:
    """A dead letter that no key opens, or that no broker takes, is kept, and exit code 1 says so."""
    kept = refuse(clean_fleet, sub="acc", calendar_id="cal", event={"event_id": "e"}, more=1)
    env = {**clean_fleet.env, f"RECONCILER_{setting}": value}

    ran = run_command(clean_fleet.home, env, "dead-letters", "replay", "--all")
    [locked] = listed(clean_fleet, **{setting: value})

    assert ran.returncode == 1
    assert message in ran.stderr
    assert setting == "BROKER_URL" or (
        locked["kwargs"] is None and "RECONCILER_VAULT_KEYS" in locked["reason"]
    )
    assert ids(clean_fleet) == [kept]


def test_dead_letters_are_dropped_only_on_confirmation(clean_fleet: Fleet) -> None:
    """Without a terminal to confirm on, only with --yes; one of them or all."""
    first, second, third = (
        refuse(clean_fleet, sub="acc", calendar_id="cal", event={}, number=number) for number in range(3)
    )

    unasked = dead_letters(clean_fleet, "drop", "--all")
    one = dead_letters(clean_fleet, "drop", second, "--yes")
    left = ids(clean_fleet)
    rest = dead_letters(clean_fleet, "drop", "--all", "--yes")

    assert (unasked.exit_code, "--yes" in unasked.stderr) == (2, True)
    assert (one.stdout, left, rest.stdout) == ("1 dropped\n", [first, third], "2 dropped\n")
    assert dead_letters(clean_fleet).stdout == "There are no dead letters.\n"


@pytest.mark.parametrize(
    "args",
    [
        *("replay", "replay 1-0 --all", "--json show 1-0"),
        *("replay --all --set event.event_id=x", "replay --all --set event"),
    ],
)
def test_wrong_usage_is_refused(args: str) -> None:
    """Exit code 2, and a message saying what is wrong."""
    ran = CliRunner().invoke(cli, ["dead-letters", *args.split()])

    assert ran.exit_code == 2
    assert "Error: " in ran.stderr
