"""A person decides what takes the place of a removed profile (contract §1, ``choose_profile``)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.integration.world import Begin, World
from worker.cli import cli
from worker.run import choices, looks

THIRD = "pro_third"


def undecided(begin: Begin, *event_ids: str, **settings: Any) -> World:
    """Events whose profile was removed, with two others that fit: a person has to choose."""
    world = begin(**settings)
    for event_id in event_ids or ("e1",):
        world.track(event_id)
    world.control.add_conferencing_profile(world.sub, provider_name="zoom", profile_id=THIRD)
    world.control.remove_profile(world.sub, world.profiles[0])
    assert world.look(event_ids[0] if event_ids else "e1")["remedy"] == "escalate"
    return world


def choose(world: World, to: str | None = THIRD, event_id: str | None = None) -> dict[str, Any]:
    """What the task answers."""
    event = (world.calendar_id, event_id) if event_id else None
    return choices.choose_profile(
        world.services, choices.WantedChoice(world.sub, world.profiles[0], to, event, "Dana")
    )


def asked(world: World, *event_ids: str) -> list[str]:
    """The profiles that the events ask for at Cronofy."""
    return [world.control.event(world.calendar_id, each)["requested_profile_id"] for each in event_ids]


def test_all_events_of_the_profile_are_set_at_once_and_later_ones_follow(begin: Begin) -> None:
    """The choice is kept for the account; the outcome says whose it was."""
    world = undecided(begin, "e1", "e2", "e3")

    answer = choose(world)
    world.track("e4")
    world.look("e4")

    assert answer["chosen"]
    assert asked(world, "e1", "e2", "e3", "e4") == [THIRD] * 4
    told = [o["detail"] for o in world.outcomes() if o["type"] == "reassigned"]
    one = {"from_profile_id": world.profiles[0], "to_profile_id": THIRD, "chosen_by": "Dana"}
    assert told == [one] * 4


def test_a_choice_for_one_event_leaves_the_others(begin: Begin) -> None:
    """It wins over the choice for all."""
    world = undecided(begin, "e1", "e2")

    choose(world, "default", "e2")
    choose(world)

    assert asked(world, "e1", "e2") == [THIRD, "default"]


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        pytest.param("pro_nobodys", "This account has no profile pro_nobodys.", id="unknown"),
        pytest.param(THIRD, f"The profile {THIRD} is disconnected.", id="disconnected"),
    ],
)
def test_a_choice_that_is_not_possible_is_refused(begin: Begin, to: str, reason: str) -> None:
    """The answer says what could be chosen; nothing is kept and nothing written."""
    world = undecided(begin)
    world.control.disconnect_profile(world.sub, THIRD)

    answer = choose(world, to)

    possible = [each["to_profile_id"] for each in answer["possible"]]
    assert (answer["chosen"], answer["reason"]) == (False, reason)
    assert possible == [*[p for p in world.profiles[1:] if p in possible], "integrated", "default"]
    assert (world.services.ledger.account(world.sub).choices, world.writes()) == ((), [])


def test_nothing_is_chosen_for_a_profile_that_is_there(begin: Begin) -> None:
    """A person does not take a working profile away by mistake."""
    world = begin()
    world.track()

    answer = choose(world, world.profiles[1])

    assert (answer["chosen"], world.writes()) == (False, [])
    assert answer["reason"] == f"The profile {world.profiles[0]} was not removed: Cronofy lists it."


def test_a_withdrawn_choice_sets_nothing_more(begin: Begin) -> None:
    """What it set stays; a later event waits for a person again."""
    world = undecided(begin)
    choose(world)

    answer = choose(world, None)
    world.track("e2")
    later = world.look("e2")

    assert (answer["chosen"], answer["reason"]) == (False, None)
    assert (later["remedy"], asked(world, "e1")) == ("escalate", [THIRD])
    assert choose(world, None)["reason"] == "There is no such choice to withdraw."


def test_an_assigned_event_is_not_written(begin: Begin) -> None:
    """It got its link before the choice, which no look has seen yet."""
    world = begin()
    world.control.set_settings(generation_seconds=0)
    world.track("e2")
    world.control.set_settings(generation_seconds=3600)
    world.track("e1")
    world.control.remove_profile(world.sub, world.profiles[0])
    world.control.add_conferencing_profile(world.sub, provider_name="zoom", profile_id=THIRD)

    choose(world)

    assert [write["event_id"] for write in world.writes()] == ["e1"]


def test_a_choice_that_cannot_be_carried_out_any_more_is_told(begin: Begin) -> None:
    """The chosen profile is disconnected before a later event comes."""
    world = undecided(begin)
    choose(world)
    world.control.disconnect_profile(world.sub, THIRD)
    world.track("e2")

    later = world.look("e2")

    assert later["remedy"] == "escalate"
    assert f"{THIRD}, which Dana chose, is not available now." in later["evidence"]


def test_who_decided_and_when_stands_in_the_history(begin: Begin) -> None:
    """For the event that it was for."""
    world = undecided(begin)

    choose(world)

    assert ("chosen", f"{THIRD}, by Dana") in [entry[1:] for entry in world.stored().event.history]


def test_a_look_alone_never_chooses(begin: Begin) -> None:
    """Without a choice a person is asked, once."""
    world = undecided(begin)

    looks.reconcile_account(world.services, world.sub)

    assert world.types() == ["escalated"]


def run(world: World, *args: str) -> Result:
    """`reconciler choose` about the world's account, with the settings of its services."""
    settings = world.services.settings
    env = {
        "REDIS_URL": settings.ledger_url,
        "KEY_PREFIX": settings.key_prefix,
        "VAULT_KEYS": settings.vault_keys[0].get_secret_value(),
        "CRONOFY_CLIENT_ID": "sandbox-client",
        "CRONOFY_CLIENT_SECRET": "sandbox-secret",
        "CRONOFY_API_URL": settings.cronofy_api_url,
    }
    named = {f"RECONCILER_{name}": value for name, value in env.items()}
    return CliRunner().invoke(cli, ["choose", world.sub, *args], env=named, catch_exceptions=False)


def test_the_command_shows_what_is_possible_and_decides(begin: Begin) -> None:
    """Without --to it changes nothing; a refused choice exits with 1 and says what is possible."""
    world = undecided(begin, "e1", "e2")
    removed = world.profiles[0]

    shown = run(world, removed)
    refused = run(world, removed, "--to", "pro_nobodys")
    untouched = world.writes()
    done = run(world, removed, "--to", THIRD, "--by", "Dana", "--json")

    assert (shown.exit_code, refused.exit_code, done.exit_code) == (0, 1, 0)
    assert f"2 events wait for {removed}, which was removed." in shown.output
    assert all(f"{THIRD} " in ran.output and "integrated" in ran.output for ran in (shown, refused))
    assert (untouched, asked(world, "e1", "e2")) == ([], [THIRD, THIRD])
    assert len(json.loads(done.stdout)["diagnoses"]) == 2
