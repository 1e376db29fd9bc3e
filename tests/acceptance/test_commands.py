"""The commands, as used by a person at a terminal or by a script."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.acceptance.harness import Fleet
from tests.acceptance.processes import environment, run_command

EVENT = {
    "summary": "Interview",
    "start": "2030-01-01T10:00:00Z",
    "end": "2030-01-01T11:00:00Z",
    "conferencing": {"profile_id": "pro_zoom"},
}


def _line(event_id: str, **changes: Any) -> str:
    event = {"event_id": event_id, **EVENT}
    return json.dumps({"sub": "acc_imported", "calendar_id": "cal", "event": event, **changes})


GOOD = [_line("first"), "", _line("last")]
BAD = [
    "{not json",
    json.dumps({"sub": "a", "calendar_id": "c", "event": EVENT}),
    _line("e", colour="red"),
    "[1]",
]


def test_a_file_is_imported(quiet_fleet: Fleet, tmp_path: Path) -> None:
    """Each refused line is named by number, blank lines are skipped, and the rest is tracked."""
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([*BAD, *GOOD]))

    run = quiet_fleet.run("track", str(file))

    assert (run.returncode, run.stdout) == (1, f"2 imported, {len(BAD)} refused\n")
    assert re.findall(r"line (\d+):", run.stderr) == [str(number) for number in range(1, len(BAD) + 1)]
    assert "Traceback" not in run.stderr
    for event_id in ("first", "last"):
        names = {"sub": "acc_imported", "calendar_id": "cal", "event_id": event_id}
        assert quiet_fleet.caller.call("explain", **names)["state"] == "pending"
        assert quiet_fleet.caller.call("untrack", **names) is True


@pytest.mark.parametrize("how", ["-", "a pipe's name"])
def test_a_pipe_is_imported(quiet_fleet: Fleet, tmp_path: Path, how: str) -> None:
    """What can be read only once is read once: standard input, and a pipe as `<(…)` names it."""
    piped, lines = how, "\n".join(GOOD)
    if how == "a pipe's name":
        piped = str(tmp_path / "fifo")
        os.mkfifo(piped)
        writer = Thread(target=Path(piped).write_text, args=(lines,))
        writer.start()

    run = run_command(quiet_fleet.home, quiet_fleet.env, "track", piped, given=lines)

    assert (run.returncode, run.stdout) == (0, "2 imported, 0 refused\n")
    for event_id in ("first", "last"):
        names = {"sub": "acc_imported", "calendar_id": "cal", "event_id": event_id}
        assert quiet_fleet.caller.call("untrack", **names) is True


def test_accounts_are_connected_from_a_file(quiet_fleet: Fleet, tmp_path: Path) -> None:
    """As with events; no token is printed, wherever in a bad line it stands."""
    secret = "9f3TokenOf_Dana"
    good = [
        {"sub": "acc_bulk_1", "refresh_token": secret, "email": "dana@example.org"},
        {"sub": "acc_bulk_2", "refresh_token": secret, "data_center": "de"},
    ]
    bad = [
        {"refresh_token": secret},
        {"sub": "a", "refresh_token": [secret]},
        {"sub": "a", secret: "refresh_token"},
        {"sub": "a", "refresh_token": secret, "data_center": secret},
    ]
    file = tmp_path / "accounts.jsonl"
    file.write_text("\n".join([f'{{"sub": "a", "{secret}', *map(json.dumps, [*good, *bad])]))

    run = quiet_fleet.run("connect", str(file))

    assert (run.returncode, run.stdout) == (1, "2 imported, 5 refused\n")
    assert re.findall(r"line (\d+):", run.stderr) == ["1", "4", "5", "6", "7"]
    assert secret not in run.stderr
    assert "Traceback" not in run.stderr
    for account in good:
        assert quiet_fleet.outcome("account_connected", account["sub"], None)


def test_a_bad_setting_stops_a_worker_at_its_start(tmp_path: Path) -> None:
    """One line names the variable, the exit code is 1, and there is no traceback."""
    sound = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "CRONOFY_CLIENT_ID": "id",
        "CRONOFY_CLIENT_SECRET": "secret",
    }

    run = run_command(tmp_path, environment(**sound, VAULT_KEYS=""), "worker")

    assert (run.returncode, run.stdout) == (1, "")
    [line] = run.stderr.splitlines()
    assert "RECONCILER_VAULT_KEYS" in line
