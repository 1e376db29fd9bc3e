"""The commands about incidents, and one choice for all accounts of one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from tests.integration.test_incidents import only
from tests.integration.world import Begin, World, set_environment
from worker.cli import cli
from worker.run import looks

Command = Callable[..., Result]


@pytest.fixture
def worlds(begin: Begin) -> list[World]:
    """Three accounts whose profile was removed; the last has no other of the same service."""
    first = begin(profiles=1, escalation_email="ops@example.org")
    found = [first, first.another(), first.another()]
    for number, world in enumerate(found):
        world.track(f"e{number}")
        world.control.remove_profile(world.sub, world.profiles[0])
        if number < 2:
            world.control.add_conferencing_profile(
                world.sub, provider_name="zoom", profile_id=f"new_{number}", profile_name="Lee"
            )
        world.look(f"e{number}")
    return found


@pytest.fixture
def command(worlds: list[World], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on the worlds' ledger."""
    set_environment(worlds[0], monkeypatch)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def test_one_choice_settles_all_accounts_of_an_incident(worlds: list[World], command: Command) -> None:
    """Where there is exactly one other profile of the same service; it shows first what will happen."""
    incident = only(worlds[0].services.ledger)
    choose = ("choose", "--incident", incident.incident_id, "--to", "same-provider")

    asked = command(*choose)
    assert (asked.exit_code, worlds[0].writes()) == (2, [])
    done = command(*choose, "--yes", "--by", "dana")

    assert "Will set same-provider for 2 events of 2 removed profiles:" in done.output
    assert f"{worlds[0].sub} {worlds[0].profiles[0]} -> new_0 (Zoom, Lee)" in done.output
    assert "Chosen for 2 removed profiles; 1 left as they are." in done.output
    assert done.exit_code == 0
    assert looks.look_at_ready(worlds[0].services, 10).looked_at >= 2
    assert sorted(write["event_id"] for write in worlds[0].writes()) == ["e0", "e1"]
    listed = json.loads(command("list", "--incident", incident.incident_id, "--json").output)
    assert [event["event_id"] for event in listed["events"]] == ["e2"]
    chosen = [done for _, what, done in worlds[1].stored("e1").event.history if what == "chosen"]
    assert chosen == ["new_1, by dana"]


def test_incidents_are_listed(worlds: list[World], command: Command) -> None:
    """With how many events and accounts, the soonest, since when, and whether somebody was told."""
    incident = only(worlds[0].services.ledger)

    shown, as_json = command("incidents"), command("incidents", "--json")

    assert f"{incident.incident_id}  profile removed (Zoom)" in shown.output
    assert "3 events of 3 accounts, the soonest" in shown.output
    assert "not told yet" in shown.output
    [found] = json.loads(as_json.output)["incidents"]
    assert (found["id"], found["cause"], found["provider_name"]) == (
        incident.incident_id,
        "profile_removed",
        "zoom",
    )
    assert (found["events"], found["accounts"], found["told"]) == (3, 3, None)


def test_an_incident_is_acknowledged_as_a_whole(worlds: list[World], command: Command) -> None:
    """Then nobody is told of it."""
    incident = only(worlds[0].services.ledger)

    done = command("acknowledge", "--incident", incident.incident_id, "--note", "on it")

    assert done.output == "3 events acknowledged.\n"
    assert command("list", "--incident", incident.incident_id).output == "None.\n"
    assert worlds[0].mails() == []
    assert command("incidents").output == "None.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("choose",), id="nothing"),
        pytest.param(("choose", "sub"), id="half"),
        pytest.param(("choose", "sub", "pro", "--incident", "x", "--to", "default"), id="both"),
        pytest.param(("choose", "--incident", "x"), id="an incident without --to"),
    ],
)
def test_wrong_usage_is_named(command: Command, arguments: tuple[str, ...]) -> None:
    """Exit code 2, as for every command."""
    assert command(*arguments).exit_code == 2


def test_an_unknown_incident_is_named(command: Command) -> None:
    """Exit code 1."""
    found = command("choose", "--incident", "none", "--to", "default", "--yes")

    assert (found.exit_code, "no open incident none" in found.output) == (1, True)
