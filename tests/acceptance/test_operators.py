"""What an operator does with a running fleet: check its status, find faults, remove an event or account."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from tests.acceptance.harness import CAUSES, Fleet, zoom
from tests.acceptance.processes import RECONCILER, environment, run_command
from tests.waiting import wait_until
from worker.cli import cli

#: The fields in the contract.
FIELDS = {
    *("attention", "accounts_lost"),
    *("events", "causes", "unseen", "parked", "escalated", "acknowledged", "due", "late", "late_seconds"),
    *("leased", "without_token", "dead_letters", "dead_letters_dropped", "outages", "no_writes"),
    *("oldest_pending_seconds", "soonest_start", "soonest", "budget", "mail", "outcome_url"),
    *("paused", "paused_since", "queues", "workers", "last_sweep_at", "at"),
}


def _status(fleet: Fleet) -> dict[str, Any]:
    """As someone with read access to the ledger asks for it: without Cronofy's client or the vault's keys."""
    bare = {k: v for k, v in fleet.env.items() if not k.startswith("RECONCILER_") or k.endswith("_REDIS_URL")}
    run = run_command(fleet.home, bare, "status", "--json")
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout))


def test_the_status_of_a_busy_fleet(fleet: Fleet) -> None:
    """As JSON it has the contract's fields; piped it is plain, 80 columns wide, with counts by cause."""
    person = fleet.person(zoom("pro_expired", connected=False))
    person.write_and_track("waits", "pro_expired")
    person.outcome("relink_requested", None)
    wait_until(lambda: _status(fleet)["workers"], 20, 0.5, what="a worker to be seen")

    status, run = _status(fleet), fleet.run("status")

    assert set(status) == FIELDS
    assert set(status["causes"]) == set(CAUSES)
    assert sum(status["causes"].values()) == status["events"]["pending"]
    assert status["causes"]["credentials_expired"] >= 1
    assert set(status["budget"]) >= {"per_second", "per_minute", "used_last_minute", "paused_until"}
    assert status["budget"]["used_last_minute"] >= 1
    assert set(status["mail"]) >= {"queued", "sent"}
    assert (status["paused"], status["oldest_pending_seconds"] > 0) == (False, True)
    assert status["last_sweep_at"] is not None
    lines = run.stdout.splitlines()
    assert "\x1b" not in run.stdout
    assert max(map(len, lines)) <= 80
    assert re.fullmatch(r"[\d,]+ events? pending, the oldest for .+", lines[0])
    assert [cause for cause in CAUSES if not any(re.match(rf"{cause} +[\d,]+", line) for line in lines)] == []


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_looking_never_starts_a_server(tmp_path: Path, command: str) -> None:
    """It says that none is running, exits with 1, and leaves nothing behind."""
    run = run_command(tmp_path, environment(), command)

    assert run.returncode == 1
    assert "no embedded server is running" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["pause", "dead-letters", "untrack acc cal evt"])
def test_commands_report_an_unreachable_redis_quickly(tmp_path: Path, command: str) -> None:
    """One sentence saying what to do, within seconds, and exit code 1; only dead letters need a key."""
    keys = {"VAULT_KEYS": Fernet.generate_key().decode()} if command == "dead-letters" else {}

    began = time.monotonic()
    run = run_command(tmp_path, environment(REDIS_URL="redis://127.0.0.1:1/0", **keys), *command.split())

    assert (run.returncode, time.monotonic() - began < 15) == (1, True)
    assert "Redis does not answer" in run.stderr
    assert "RECONCILER_REDIS_URL" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_list_of_commands_is_whole_at_eighty_columns(tmp_path: Path) -> None:
    """Each command's line is complete."""
    run = run_command(tmp_path, environment() | {"COLUMNS": "80"}, "--help")

    assert run.returncode == 0
    assert "..." not in run.stdout.partition("Commands:")[2]


class Terminal:
    """A command on its own terminal, 80 columns wide."""

    def __init__(self, fleet: Fleet, *args: str) -> None:
        self._end, inner = pty.openpty()
        env = {**fleet.env, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
        self.process = subprocess.Popen(
            [RECONCILER, *args],
            cwd=fleet.home,
            env=env,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            # Makes Ctrl-C reach it, as when a person types it.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(inner)
        self.shown = ""

    def until(self, words: str) -> None:
        wait_until(lambda: words in self._read(), 20, what=f"{words!r} on the terminal")

    def type(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def code(self) -> int:
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read()
        self.process.kill()
        code = self.process.wait(5)
        self._read()
        os.close(self._end)
        return code

    def _read(self) -> str:
        while select.select([self._end], [], [], 0.05)[0]:
            try:
                self.shown += os.read(self._end, 65536).decode(errors="replace")
            except OSError:
                # The other side has closed.
                break
        return self.shown


@pytest.mark.parametrize("ending", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_a_watched_status_is_shown_until_it_is_ended(fleet: Fleet, ending: str) -> None:
    """A key ends it with exit code 0; through a pipe it cannot be watched."""
    assert CliRunner().invoke(cli, ["status", "--watch"], env=fleet.env).exit_code == 2
    terminal = Terminal(fleet, "status", "--watch")
    terminal.until("q to quit")

    terminal.type(ending)

    assert terminal.code() == 0
    assert "Traceback" not in terminal.shown


def test_the_doctor_finds_a_fleet_that_runs_well(fleet: Fleet) -> None:
    """Piped: one plain line per finding, and finally that there are no faults; exit code 0."""
    wait_until(lambda: _status(fleet)["workers"], 20, 0.5, what="a worker to be seen")

    run = fleet.run("doctor")

    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    *findings, blank, verdict = run.stdout.splitlines()
    assert all(re.match(r"(ok|warning|skipped) +[a-z]", line) for line in findings), findings
    assert (blank, verdict[:10]) == ("", "0 faults, ")


def test_the_doctors_findings_as_json(fleet: Fleet) -> None:
    """A wrong client secret is reported with what to do, and never printed; exit code 1."""
    env = {**fleet.env, "RECONCILER_CRONOFY_CLIENT_SECRET": "wr0ng-secret"}

    run = run_command(fleet.home, env, "doctor", "--json")

    assert run.returncode == 1
    [finding] = [f for f in json.loads(run.stdout) if f["state"] == "wrong"]
    assert finding["name"] == "cronofy"
    assert "RECONCILER_CRONOFY_CLIENT_SECRET" in finding["mend"]
    assert "wr0ng" not in run.stdout + run.stderr


def test_an_event_is_listed_and_acknowledged(fleet: Fleet) -> None:
    """By whom; a task does the same as the command."""
    person = fleet.person(zoom("pro_expired", connected=False))
    person.write_and_track("answered", "pro_expired")
    person.outcome("relink_requested", None)
    ids = {"sub": person.sub, "calendar_id": person.calendar_id, "event_id": "answered"}

    taken = fleet.caller.call("acknowledge", **ids, by="shop", until="P1D")
    listed = json.loads(
        fleet.run("list", "--cause", "credentials_expired", "--acknowledged", "--json").stdout
    )

    assert taken is True
    [event] = listed["events"]
    assert (event["event_id"], event["acknowledged"]["by"], listed["next"]) == ("answered", "shop", None)


def test_an_event_is_untracked(fleet: Fleet) -> None:
    """The command confirms it, and the event is no longer known."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("let-go", "pro_zoom")

    run = fleet.run("untrack", person.sub, person.calendar_id, "let-go")

    assert run.returncode == 0, run.stderr
    assert "no longer tracked" in run.stdout
    assert person.explain("let-go") is None


@pytest.mark.parametrize(
    ("command", "nearest"),
    [
        ("untrack {sub} cal_{sub} evt-4117", "{sub} cal_{sub} evt-4711"),
        ("untrack x{sub} another evt-4711", "{sub} cal_{sub} evt-4711"),
        ("forget --yes x{sub}", "{sub}"),
    ],
    ids=["event", "account and calendar", "account"],
)
def test_mistyped_ids_get_the_nearest_known_ones(fleet: Fleet, command: str, nearest: str) -> None:
    """Exit code 1, and ids that can be pasted."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("evt-4711", "pro_zoom")

    run = CliRunner().invoke(cli, command.format(sub=person.sub).split(), env=fleet.env)

    assert (run.exit_code, run.stdout) == (1, "")
    assert "is not tracked." in run.stderr or "is not known." in run.stderr
    assert f" {nearest.format(sub=person.sub)}\n" in run.stderr


def test_an_account_is_forgotten_on_confirmation(fleet: Fleet) -> None:
    """Without a terminal to confirm on, only with --yes; nothing is left of the account."""
    person = fleet.person(zoom("pro_zoom"))
    person.stick("gone")
    person.write_and_track("gone", "pro_zoom")

    unasked = CliRunner().invoke(cli, ["forget", person.sub], env=fleet.env)
    assert (unasked.exit_code, "--yes" in unasked.stderr) == (2, True)
    assert person.explain("gone") is not None
    run = fleet.run("forget", person.sub, "--yes")

    assert run.returncode == 0, run.stderr
    assert run.stdout == f"Forgot {person.sub}, with its credentials and 1 pending event.\n"
    assert person.explain("gone") is None
    kept = ("account", "events", "settled", "notices")
    assert fleet.redis.exists(*(f"reconciler:{family}:{person.sub}" for family in kept)) == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130)], ids=["yes", "no"])
def test_a_terminal_asks_for_confirmation(fleet: Fleet, answer: str, code: int) -> None:
    """It says what would be removed; anything but yes keeps it."""
    person = fleet.person(zoom("pro_zoom"))
    person.stick("asked")
    person.write_and_track("asked", "pro_zoom")
    terminal = Terminal(fleet, "forget", person.sub)
    terminal.until("This cannot be undone")

    terminal.type(answer)

    assert terminal.code() == code
    assert "1 pending event" in terminal.shown
    assert (person.explain("asked") is None) == (code == 0)
