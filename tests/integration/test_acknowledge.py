"""Somebody answers for an event: nobody is told of it again until its cause changes or the end is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.integration.world import Begin, World
from tests.waiting import wait_until
from worker.cli import cli
from worker.intake import accept
from worker.intake.payloads import AcknowledgeEvent, BadPayload, ConnectAccount, parse
from worker.ledger.lists import Wanted

ESCALATED, ACKNOWLEDGED = Wanted(escalated=True), Wanted(acknowledged=True)


@pytest.fixture
def world(begin: Begin) -> World:
    """See `escalated`."""
    return escalated(begin)


def escalated(begin: Begin, **settings: Any) -> World:
    """An event that was escalated: its profile was removed, and there is no other."""
    made = begin(profiles=1, escalation_email="ops@example.org", **settings)
    made.track()
    made.control.remove_profile(made.sub, made.profiles[0])
    made.look()
    assert made.types() == ["escalated"]
    assert len(made.mails()) == 1
    return made


def acknowledge(world: World, **fields: Any) -> bool:
    """What the task does."""
    kwargs = {"sub": world.sub, "calendar_id": world.calendar_id, "event_id": "e1", **fields}
    return accept.acknowledge(world.services, parse(AcknowledgeEvent, (), kwargs))


def listed(world: World, wanted: Wanted) -> list[str]:
    """The events of a list."""
    return [each.event.key.event_id for each in world.services.ledger.lists.page(wanted, 10).events]


def test_it_moves_from_the_escalated_to_the_acknowledged(world: World) -> None:
    """An outcome says who and why; taken back, it is where it was."""
    assert listed(world, ESCALATED) == ["e1"]

    assert acknowledge(world, by="dana", note="asked the customer", until="P3D")

    assert (listed(world, ESCALATED), listed(world, ACKNOWLEDGED)) == ([], ["e1"])
    outcome = world.outcomes()[-1]
    assert (outcome["type"], outcome["cause"]) == ("acknowledged", "profile_removed")
    assert (outcome["detail"]["by"], outcome["detail"]["note"]) == ("dana", "asked the customer")
    assert acknowledge(world, withdraw=True)
    assert (listed(world, ESCALATED), listed(world, ACKNOWLEDGED)) == (["e1"], [])
    assert world.outcomes()[-1]["detail"] == {"withdrawn": True}
    assert not acknowledge(world, withdraw=True)


def test_a_message_that_is_delivered_again_changes_nothing(world: World) -> None:
    """One outcome, and the end that the first delivery set."""
    acknowledge(world, until="P3D")
    before = world.services.ledger.acknowledgement(world.sub, world.key())

    kwargs = {"sub": world.sub, "calendar_id": world.calendar_id, "event_id": "e1", "until": "P3D"}
    assert accept.acknowledge(world.services, parse(AcknowledgeEvent, (), kwargs), again=True)

    assert world.services.ledger.acknowledgement(world.sub, world.key()) == before
    assert world.types() == ["escalated", "acknowledged"]


def test_nobody_is_told_again_meanwhile(world: World) -> None:
    """Not even if it is tracked again, which starts everything over; it is looked at as usual."""
    acknowledge(world)
    world.track(write=False)

    answer = world.look()

    assert answer["cause"] == "profile_removed"
    assert world.types() == ["escalated", "acknowledged"]
    assert not any(b"needs a person" in mail.message for mail in world.mails())
    assert listed(world, ACKNOWLEDGED) == ["e1"]


def test_once_its_end_is_over_people_are_told_again(world: World) -> None:
    """Once; a look comes by then."""
    ledger = world.services.ledger
    acknowledge(world, until="0.3")
    ends = ledger.acknowledgement(world.sub, world.key())
    assert ends is not None
    assert world.stored().event.next_look == ends.until
    wait_until(lambda: ledger.now().timestamp() * 1000 > (ends.until or 0), 5, what="its end")

    world.look()
    world.look()

    assert world.types() == ["escalated", "acknowledged", "escalated"]
    assert [b"needs a person" in mail.message for mail in world.mails()].count(True) == 1
    assert listed(world, ESCALATED) == ["e1"]
    assert ledger.acknowledgement(world.sub, world.key()) is None
    assert "acknowledged" in [what for _, what, _ in world.stored().event.history]


def test_another_cause_ends_it(world: World) -> None:
    """What was acknowledged is over; it is told if it comes back."""
    acknowledge(world)
    profile = {"profile_id": world.profiles[0], "provider_name": "zoom"}
    world.control.add_conferencing_profile(world.sub, **profile)
    assert world.look()["cause"] == "generating"
    assert listed(world, ACKNOWLEDGED) == []
    world.control.remove_profile(world.sub, world.profiles[0])

    world.look()

    assert world.types() == ["escalated", "acknowledged", "escalated"]
    assert listed(world, ESCALATED) == ["e1"]


def test_an_event_that_is_settled_or_untracked_takes_it_along(world: World) -> None:
    """It is in no list any more."""
    acknowledge(world)
    world.services.ledger.untrack(world.sub, world.key())

    assert listed(world, ACKNOWLEDGED) == []
    assert not acknowledge(world)


@pytest.mark.parametrize("known", [True, False], ids=["acknowledged", "not acknowledged"])
def test_of_looks_that_fail_nobody_is_told_either(begin: Begin, known: bool) -> None:
    """However long Cronofy fails, and although the event is about to start."""
    world = escalated(begin, grace="0", escalate_before="P9D")
    if known:
        acknowledge(world)
    before = world.types()
    world.control.add_fault("status", match={"path_prefix": "/v1/"}, status=500)
    for _ in range(6):
        world.look()

    assert world.types() == before + ([] if known else ["escalated"])


def test_events_whose_user_cannot_be_asked_are_escalated_until_that_is_possible(begin: Begin) -> None:
    """Those found later, too, although a person is told once for each profile."""
    world = begin()

    def connect(email: str) -> None:
        account = world.control.account(world.sub)
        tokens = {name: account[name] for name in ("refresh_token", "access_token")}
        accept.connect_account(world.services, ConnectAccount(sub=world.sub, email=email, **tokens))

    def look(*event_ids: str) -> None:
        for event_id in event_ids:
            world.look(event_id)

    connect("not an address")
    world.track()
    world.track("later")
    world.control.disconnect_profile(world.sub, world.profiles[0])
    look("e1", "later")
    assert world.types() == ["escalated"]
    assert listed(world, ESCALATED) == ["e1", "later"]

    connect("dana@example.org")
    look("e1", "later")

    assert world.types() == ["escalated", "relink_requested"]
    assert listed(world, ESCALATED) == []
    assert world.services.ledger.lists.size("cause:2") == 2


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"until": "tomorrow"}, "until must be a time such as"),
        ({"until": 3}, "until"),
        ({"by": ""}, "by"),
        ({"note": "x" * 2000}, "note"),
    ],
    ids=["no time", "no text", "nobody", "too long"],
)
def test_what_does_not_fit_is_refused(world: World, fields: dict[str, Any], why: str) -> None:
    """The reason names the argument."""
    with pytest.raises(BadPayload, match=f"^{why}"):
        acknowledge(world, **fields)


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command on the world's ledger."""
    settings = world.services.settings
    monkeypatch.setenv("RECONCILER_REDIS_URL", settings.redis_url or "")
    monkeypatch.setenv("RECONCILER_KEY_PREFIX", settings.key_prefix)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def test_the_commands_list_and_acknowledge(world: World, command: Callable[..., Result]) -> None:
    """One event by its ids, or all that fit."""
    ids = (world.sub, world.calendar_id, "e1")
    assert "profile_removed, zoom, escalated" in command("list", "--escalated").output

    assert command("acknowledge", *ids, "--by", "dana", "--note", "on it", "--until", "P3D").exit_code == 0
    assert "acknowledged by dana: on it until" in command("list", "--acknowledged").output
    assert command("list", "--escalated").output == "None.\n"
    assert "1 event withdrawn." in command("acknowledge", "--acknowledged", "--withdraw").output
    assert "1 event acknowledged." in command("acknowledge", "--cause", "profile_removed").output
    assert command("acknowledge", world.sub, world.calendar_id, "none").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("acknowledge",),
        ("acknowledge", "sub", "cal"),
        ("acknowledge", "sub", "cal", "e1", "--escalated"),
        ("acknowledge", "sub", "cal", "e1", "--until", "soon"),
        ("list", "--cause", "bad-luck"),
        ("list", "--escalated", "--after", "nonsense"),
        ("list", "--limit", "0"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_named(command: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    """Exit code 2, as for every command."""
    assert command(*arguments).exit_code == 2


def test_what_was_withdrawn_or_replaced_stays_in_the_history(world: World) -> None:
    """With who it was and when; the record is not otherwise changed."""
    before = world.stored()
    acknowledge(world, by="dana", note="asked the customer")
    acknowledge(world, by="sam")
    acknowledge(world, withdraw=True)

    lines = [line[1:] for line in world.stored().event.history[-4:]]
    assert sorted(lines) == [
        ("acknowledged", "by dana: asked the customer"),
        ("acknowledged", "by sam"),
        ("acknowledgement_over", "it was acknowledged again"),
        ("acknowledgement_over", "it was withdrawn"),
    ]
    after = world.stored()
    assert replace(after.event, history=before.event.history) == before.event
    assert after.next_look == before.next_look
