"""Dead letters as an operator meets them: listed, read, corrected, sent again, dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast
from uuid import uuid4

import pytest

from tests.acceptance.harness import Fleet, zoom
from tests.waiting import wait_until


@pytest.fixture
def letters(quiet_fleet: Fleet) -> Iterator[Fleet]:
    """A fleet without dead letters."""
    quiet_fleet.redis.delete("reconciler:dead-letters")
    yield quiet_fleet
    quiet_fleet.redis.delete("reconciler:dead-letters")


def listed(fleet: Fleet) -> Any:
    """The contract's list."""
    ran = fleet.run("dead-letters", "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def refuse(fleet: Fleet, **kwargs: Any) -> str:
    """Have a `track` refused; the letter's id."""
    fleet.caller.failure("track", **kwargs)
    [(letter_id, _)] = cast("Any", fleet.redis.xrevrange("reconciler:dead-letters", count=1))
    return str(letter_id.decode())


def test_a_refused_payload_is_corrected_on_the_way_back(letters: Fleet) -> None:
    """It is listed with its reason, and sent again with one argument replaced it is carried out."""
    person = letters.person(zoom("pro_zoom"))
    event = {"event_id": 7, "summary": "Planning", "conferencing": {"profile_id": "pro_zoom"}}
    refuse(letters, sub=person.sub, calendar_id=person.calendar_id, event=event)
    [kept] = listed(letters)
    assert list(kept) == ["id", "task", "reason", "at", "kwargs"]
    assert kept["task"] == "conferencing.track"
    assert "event.event_id" in kept["reason"]
    assert kept["kwargs"]["event"] == event

    ran = letters.run("dead-letters", "replay", kept["id"], "--set", 'event.event_id="seven"')

    assert (ran.returncode, ran.stdout) == (0, f"{kept['id']} conferencing.track sent again\n")
    wait_until(lambda: person.explain("seven"), 10, 0.1, what="the event to be tracked")
    assert listed(letters) == []


def test_what_is_sent_again_unmended_comes_back_with_its_reason(letters: Fleet) -> None:
    """Nothing is lost by trying; an argument that is too much can be left out."""
    refuse(letters, sub="acc_x", calendar_id="cal_x", event={"event_id": "e"}, colour="red")
    [kept] = listed(letters)

    assert letters.run("dead-letters", "replay", "--all").returncode == 0

    back = wait_until(lambda: listed(letters), 10, 0.2, what="the letter to come back")
    assert [(letter["reason"], letter["kwargs"]) for letter in back] == [(kept["reason"], kept["kwargs"])]
    assert back[0]["id"] != kept["id"]
    assert letters.run("dead-letters", "replay", "--all", "--unset", "colour").returncode == 0
    ledger = letters.redis
    wait_until(lambda: ledger.exists("reconciler:events:acc_x"), 10, 0.1, what="the event to be tracked")
    assert listed(letters) == []


def test_secrets_are_masked_and_still_sent_again(letters: Fleet) -> None:
    """Tokens under their own name, under a misspelt one and as positional arguments are never printed."""
    sub, token = f"acc_{uuid4().hex}", f"token-{uuid4().hex}"
    letters.caller.failure("connect_account", sub=sub, refresh_token=token, refreshtoken=token, name="Dana")
    letters.caller.failure("connect_account", args=(sub, token))
    letters.caller.failure("receive_notification", body="{}", signature=token, more=1)

    ids = [letter["id"] for letter in listed(letters)]
    printed = [letters.run("dead-letters", "show", letter_id).stdout for letter_id in ids]
    printed += [letters.run("dead-letters", *args).stdout for args in ((), ("--json",), ("list", "--json"))]

    assert [letter["kwargs"] for letter in listed(letters)] == [
        {"sub": sub, "refresh_token": "***", "refreshtoken": "***", "name": "Dana"},
        {"*": ["***", "***"]},
        {"body": "{}", "signature": "***", "more": 1},
    ]
    assert all(token not in text for text in printed)
    assert letters.run("dead-letters", "replay", ids[0], "--unset", "refreshtoken").returncode == 0
    stored = wait_until(lambda: letters.redis.hget(f"reconciler:account:{sub}", "standing"), 10, 0.1)
    assert stored == b"active"


def test_the_table_fits_a_terminal_of_eighty_columns(letters: Fleet) -> None:
    """Long reasons are wrapped; the ids stay whole, to be copied."""
    event = {"event_id": "e", "start": "x" * 300}
    ids = [refuse(letters, sub="acc", calendar_id="cal", event=event) for _ in range(3)]

    ran = letters.run("dead-letters", "list", "--limit", "2")

    lines = ran.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if "-0 " in line or "-1 " in line] == ids[1:]
    assert "3 in all" in ran.stdout


def test_an_unknown_id_changes_nothing_and_names_the_nearest(letters: Fleet) -> None:
    """One digit wrong among ids that are right."""
    kept = refuse(letters, sub="acc", calendar_id="cal", event={})
    wrong = kept[:-3] + ("1" if kept[-3] != "1" else "2") + kept[-2:]

    answers = [
        letters.run("dead-letters", command, kept, wrong, *more)
        for command, more in (("replay", ()), ("drop", ("--yes",)))
    ] + [letters.run("dead-letters", "show", wrong)]

    for answer in answers:
        assert answer.returncode == 1
        assert f"There is no dead letter {wrong}; the nearest is {kept}." in answer.stderr
    assert [letter["id"] for letter in listed(letters)] == [kept]


def test_a_letter_that_no_key_opens_is_named_and_left(letters: Fleet) -> None:
    """The others go; with the old key back, this one can be read again."""
    refuse(letters, sub="acc", calendar_id="cal", event={"event_id": "e"}, more=1)
    old, other = letters.env["RECONCILER_VAULT_KEYS"], "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    letters.env["RECONCILER_VAULT_KEYS"] = other
    try:
        [locked] = listed(letters)
        ran = letters.run("dead-letters", "replay", "--all")
    finally:
        letters.env["RECONCILER_VAULT_KEYS"] = old

    assert locked["kwargs"] is None
    assert "RECONCILER_VAULT_KEYS" in locked["reason"]
    assert ran.returncode == 1
    assert f"{locked['id']} left: " in ran.stderr
    assert listed(letters)[0]["kwargs"]["more"] == 1


def test_a_letter_stays_while_the_broker_is_away(letters: Fleet) -> None:
    """It is removed only once its message is handed over."""
    kept = refuse(letters, sub="acc", calendar_id="cal", event={})
    letters.env["RECONCILER_BROKER_URL"] = "redis://127.0.0.1:1/0"
    try:
        ran = letters.run("dead-letters", "replay", "--all")
    finally:
        del letters.env["RECONCILER_BROKER_URL"]

    assert ran.returncode == 1
    assert "The broker does not take" in ran.stderr
    assert [letter["id"] for letter in listed(letters)] == [kept]


def test_letters_are_erased_only_when_that_is_meant(letters: Fleet) -> None:
    """Without a terminal to ask at, only with --yes; one of them or all."""
    ids = [refuse(letters, sub="acc", calendar_id="cal", event={}, number=number) for number in range(3)]

    unasked = letters.run("dead-letters", "drop", "--all")
    one = letters.run("dead-letters", "drop", ids[1], "--yes")
    left = [letter["id"] for letter in listed(letters)]
    rest = letters.run("dead-letters", "drop", "--all", "--yes")

    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    assert one.stdout == "1 dropped\n"
    assert left == [ids[0], ids[2]]
    assert rest.stdout == "2 dropped\n"
    assert letters.run("dead-letters").stdout == "There are no dead letters.\n"


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["replay"], id="nothing chosen"),
        pytest.param(["replay", "1-0", "--all"], id="ids and all"),
        pytest.param(["replay", "--all", "--set", "event.event_id=x"], id="a text without quotes"),
        pytest.param(["replay", "--all", "--set", "event"], id="no value"),
        pytest.param(["--json", "show", "1-0"], id="--json in front of a command"),
    ],
)
def test_wrong_usage_is_refused(args: list[str], letters: Fleet) -> None:
    """Exit code 2, with a word on what is wrong."""
    ran = letters.run("dead-letters", *args)

    assert ran.returncode == 2
    assert "Error: " in ran.stderr
