"""The commands, as a person at a terminal or a script meets them."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.acceptance.harness import Fleet, zoom
from tests.acceptance.processes import environment, run_command

EVENT = {
    "summary": "Interview",
    "start": "2030-01-01T10:00:00Z",
    "end": "2030-01-01T11:00:00Z",
    "conferencing": {"profile_id": "pro_zoom"},
}


def _line(event_id: str, sub: str = "acc_imported", **changes: Any) -> str:
    return json.dumps({"sub": sub, "calendar_id": "cal", "event": {"event_id": event_id, **EVENT}, **changes})


def test_a_file_with_good_lines_only_is_imported(quiet_fleet: Fleet, tmp_path: Path) -> None:
    """Both counts are printed, the exit code is 0, and the events are tracked."""
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f"{_line(f'good-{number}')}\n" for number in range(3)))

    run = quiet_fleet.run("track", str(file))

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "3 imported, 0 refused"
    event = {"sub": "acc_imported", "calendar_id": "cal", "event_id": "good-2"}
    assert quiet_fleet.caller.call("explain", **event)["state"] == "pending"


def test_bad_lines_of_a_file_are_named_by_number_and_the_rest_is_imported(
    quiet_fleet: Fleet, tmp_path: Path
) -> None:
    """Each refused line is named, empty ones are no lines, and the exit code is 1."""
    lines = [
        _line("first"),
        "{not json",
        "",
        json.dumps({"sub": "acc_imported", "calendar_id": "cal", "event": EVENT}),
        _line("extra", colour="red"),
        "[1, 2]",
        _line("last"),
    ]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(lines))

    run = quiet_fleet.run("track", str(file))

    assert run.returncode == 1
    assert run.stdout.strip() == "2 imported, 4 refused"
    assert re.findall(r"line (\d+):", run.stderr) == ["2", "4", "5", "6"]
    assert "Traceback" not in run.stderr
    for event_id in ("first", "last"):
        event = {"sub": "acc_imported", "calendar_id": "cal", "event_id": event_id}
        assert quiet_fleet.caller.call("explain", **event) is not None


def test_explain_says_why_and_what_follows(fleet: Fleet) -> None:
    """Two sentences come first, the evidence follows, and the exit code is 0."""
    person = fleet.person(zoom("pro_expired", connected=False))
    person.write_and_track("explained", "pro_expired")
    person.outcome("relink_requested", None)

    run = fleet.run("explain", person.sub, person.calendar_id, "explained")

    assert run.returncode == 0, run.stderr
    first = " ".join(run.stdout.partition("\n\n")[0].split())
    assert re.fullmatch(r"[A-Z][^.]+\. [A-Z][^.]+\.", first), first
    assert "expired" in first
    for word in ("credentials_expired", "relink_email", "Evidence", "History", "pro_expired"):
        assert word in run.stdout


def test_explain_as_json_is_the_diagnosis(fleet: Fleet) -> None:
    """It is what the task answers."""
    person = fleet.person(zoom("pro_past"))
    person.write_and_track("past", "pro_past", timedelta(hours=-1))
    person.outcome("closed", "past")

    run = fleet.run("explain", person.sub, person.calendar_id, "past", "--json")

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == person.explain("past")


def test_explain_of_what_is_not_tracked_fails(fleet: Fleet) -> None:
    """The exit code is 1, and the first line says that the event is not tracked."""
    run = fleet.run("explain", "acc_nobody", "cal_none", "evt_none")

    assert run.returncode == 1
    assert run.stdout == ""
    first = run.stderr.splitlines()[0]
    assert first == "The event evt_none in calendar cal_none of acc_nobody is not tracked."


def test_explain_offline_asks_nobody(quiet_fleet: Fleet) -> None:
    """It answers from the ledger without any request, where the same question without it reads anew."""
    person = quiet_fleet.person(zoom("pro_zoom"))
    person.stick("offline")
    person.write_and_track("offline", "pro_zoom")
    asked = (person.sub, person.calendar_id, "offline")

    run = quiet_fleet.run("explain", *asked, "--offline")

    assert run.returncode == 0, run.stderr
    assert "generating" in run.stdout
    assert quiet_fleet.requests(person.sub) == []
    assert quiet_fleet.run("explain", *asked).returncode == 0
    assert quiet_fleet.requests(person.sub) != []


_SOUND = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "VAULT_KEYS": Fernet.generate_key().decode(),
    "CRONOFY_CLIENT_ID": "client",
    "CRONOFY_CLIENT_SECRET": "secret",
}
_FAULTS = {
    "no Redis": ({"REDIS_URL": ""}, ["RECONCILER_REDIS_URL"]),
    "no client": (
        {"CRONOFY_CLIENT_ID": "", "CRONOFY_CLIENT_SECRET": ""},
        ["RECONCILER_CRONOFY_CLIENT_ID", "RECONCILER_CRONOFY_CLIENT_SECRET"],
    ),
    "no vault key": ({"VAULT_KEYS": ""}, ["RECONCILER_VAULT_KEYS"]),
    "bounds that cross": (
        {"RECHECK_MIN": "60", "RECHECK_MAX": "30"},
        ["RECONCILER_RECHECK_MIN", "RECONCILER_RECHECK_MAX"],
    ),
    "a task without its queue": ({"OUTCOME_TASK": "billing.settle"}, ["RECONCILER_OUTCOME_QUEUE"]),
    "a sender that is no address": ({"MAIL_FROM": "nobody"}, ["RECONCILER_MAIL_FROM"]),
}


@pytest.mark.parametrize(("settings", "named"), _FAULTS.values(), ids=_FAULTS.keys())
def test_a_bad_setting_stops_a_worker_at_its_start(
    settings: dict[str, str], named: list[str], tmp_path: Path
) -> None:
    """One line names the variable, the exit code is 1, and there is no traceback."""
    run = run_command(tmp_path, environment(**{**_SOUND, **settings}), "worker")

    assert run.returncode == 1
    assert run.stdout == ""
    [line] = run.stderr.splitlines()
    assert all(name in line for name in named), line
