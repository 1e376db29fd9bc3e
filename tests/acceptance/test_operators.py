"""What an operator asks of a fleet that runs: how it is, what is wrong with it, to let go of something."""

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
from cryptography.fernet import Fernet

from tests.acceptance.harness import Fleet, zoom
from tests.acceptance.processes import RECONCILER, environment, run_command
from tests.waiting import wait_until
from worker.diagnosis.model import Cause

FIELDS = {
    *("events", "causes", "due", "leased", "dead_letters", "oldest_pending_seconds", "soonest_start"),
    *("budget", "mail", "paused"),
}


def _only(fleet: Fleet, *names: str) -> dict[str, str]:
    """The fleet's environment with these settings alone."""
    kept = {f"RECONCILER_{name}" for name in names}
    return {k: v for k, v in fleet.env.items() if not k.startswith("RECONCILER_") or k in kept}


def _status(fleet: Fleet) -> dict[str, Any]:
    run = fleet.run("status", "--json")
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout))


def test_the_status_as_json_has_the_contracts_fields(fleet: Fleet) -> None:
    """Counts of what is there, with a worker and a sweep seen lately."""
    person = fleet.person(zoom("pro_expired", connected=False))
    person.write_and_track("waits", "pro_expired")
    person.outcome("relink_requested", None)

    wait_until(lambda: _status(fleet)["workers"], 20, 0.5, what="a worker to be seen")
    status = _status(fleet)

    assert set(status) >= FIELDS
    assert set(status["causes"]) == set(Cause)
    assert sum(status["causes"].values()) == status["events"]["pending"]
    assert status["causes"]["credentials_expired"] >= 1
    assert set(status["budget"]) >= {"per_second", "per_minute", "used_last_minute", "paused_until"}
    assert status["budget"]["used_last_minute"] >= 1
    assert set(status["mail"]) >= {"queued", "sent"}
    assert status["paused"] is False
    assert status["oldest_pending_seconds"] > 0
    assert status["last_sweep_at"] is not None
    assert set(status["queues"].values()) <= set(range(1000))


def test_the_status_piped_is_plain_and_narrow(fleet: Fleet) -> None:
    """No colour, 80 columns, each cause with its count, the next to start with ids to be pasted."""
    person = fleet.person(zoom("pro_expired", connected=False))
    person.write_and_track("shown", "pro_expired")

    run = fleet.run("status")

    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert "\x1b" not in run.stdout
    assert max(map(len, lines)) <= 80
    assert re.fullmatch(r"[\d,]+ events? pending, the oldest for .+", lines[0])
    for cause in Cause:
        assert any(re.match(rf"{cause} +[\d,]+", line) for line in lines), cause


def test_the_status_needs_neither_cronofy_nor_keys(fleet: Fleet) -> None:
    """Whoever may only read the ledger may ask."""
    run = run_command(fleet.home, _only(fleet, "REDIS_URL"), "status")

    assert run.returncode == 0, run.stderr
    assert "pending" in run.stdout


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_looking_never_starts_a_server(tmp_path: Path, command: str) -> None:
    """It says that none is running, exits 1, and leaves nothing behind."""
    run = run_command(tmp_path, environment(), command)

    assert run.returncode == 1
    assert "no embedded server is running" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["pause", "dead-letters", "untrack"])
def test_who_acts_hears_soon_that_redis_is_away(tmp_path: Path, command: str) -> None:
    """One sentence with the mend, within seconds, and exit code 1; pausing wants no key and no client."""
    keys = {"VAULT_KEYS": Fernet.generate_key().decode()} if command == "dead-letters" else {}
    ids = ["acc", "cal", "evt"] if command == "untrack" else []

    began = time.monotonic()
    run = run_command(tmp_path, environment(REDIS_URL="redis://127.0.0.1:1/0", **keys), command, *ids)

    assert run.returncode == 1
    assert time.monotonic() - began < 15
    assert "Redis cannot be used" in run.stderr
    assert "RECONCILER_REDIS_URL" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_list_of_commands_is_whole_at_eighty_columns(tmp_path: Path) -> None:
    """Each command's line says all that it has to say."""
    run = run_command(tmp_path, environment() | {"COLUMNS": "80"}, "--help")

    assert run.returncode == 0
    assert "..." not in run.stdout.partition("Commands:")[2]


def test_a_status_cannot_be_watched_through_a_pipe(fleet: Fleet) -> None:
    """Exit code 2, and what would serve instead."""
    run = fleet.run("status", "--watch")

    assert run.returncode == 2
    assert "terminal" in run.stderr


class Terminal:
    """A command on a terminal of its own, 80 columns wide."""

    def __init__(self, fleet: Fleet, *args: str) -> None:
        """Start it."""
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
            # So that Ctrl-C reaches it, as it does where a person types it.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(inner)
        self.shown = ""

    def until(self, words: str) -> None:
        """Wait until these words were shown."""
        wait_until(lambda: words in self._read(), 20, what=f"{words!r} on the terminal")

    def type(self, keys: str) -> None:
        """As a person does."""
        os.write(self._end, keys.encode())

    def code(self) -> int:
        """Its exit code, once it has ended."""
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
                # The other side is closed.
                break
        return self.shown


@pytest.mark.parametrize("ending", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_a_watched_status_is_shown_until_it_is_ended(fleet: Fleet, ending: str) -> None:
    """It appears, and ends at a key with the exit code 0."""
    terminal = Terminal(fleet, "status", "--watch")
    terminal.until("q ends this")

    terminal.type(ending)

    assert terminal.code() == 0
    assert "Traceback" not in terminal.shown


def test_the_doctor_finds_a_fleet_that_runs_well(fleet: Fleet) -> None:
    """Piped: one plain line for each finding, and in the end that there are no faults; exit code 0."""
    wait_until(lambda: _status(fleet)["workers"], 20, 0.5, what="a worker to be seen")

    run = fleet.run("doctor")

    assert run.returncode == 0, run.stdout + run.stderr
    *findings, blank, verdict = run.stdout.splitlines()
    assert all(re.match(r"(ok|warning|skipped) +[a-z]", line) for line in findings), findings
    assert blank == ""
    assert verdict.startswith("0 faults, ")
    assert run.stderr == ""


def test_the_doctors_findings_as_json(fleet: Fleet) -> None:
    """A wrong client secret is told with its mend, and nothing else is on the way out; exit code 1."""
    env = {**fleet.env, "RECONCILER_CRONOFY_CLIENT_SECRET": "wr0ng-secret"}

    run = run_command(fleet.home, env, "doctor", "--json")

    assert run.returncode == 1
    [finding] = [f for f in json.loads(run.stdout) if f["state"] == "wrong"]
    assert finding["name"] == "cronofy"
    assert "RECONCILER_CRONOFY_CLIENT_SECRET" in finding["mend"]
    assert "wr0ng" not in run.stdout + run.stderr


def test_an_event_is_untracked(fleet: Fleet) -> None:
    """It is said, and it is no longer known."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("let-go", "pro_zoom")

    run = fleet.run("untrack", person.sub, person.calendar_id, "let-go")

    assert run.returncode == 0, run.stderr
    assert "no longer watched" in run.stdout
    assert person.explain("let-go") is None


def test_a_mistyped_event_gets_the_nearest_known_ones(fleet: Fleet) -> None:
    """Exit code 1, and ids that could be pasted."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("evt-4711", "pro_zoom")

    run = fleet.run("untrack", person.sub, person.calendar_id, "evt-4117")

    assert (run.returncode, run.stdout) == (1, "")
    assert "not tracked" in run.stderr
    assert f"  {person.sub} {person.calendar_id} evt-4711\n" in run.stderr


def test_an_event_in_another_calendar_is_found(fleet: Fleet) -> None:
    """The id alone is enough to name it."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("mine", "pro_zoom")

    run = fleet.run("untrack", person.sub, "another", "mine")

    assert run.returncode == 1
    assert f"  {person.sub} {person.calendar_id} mine\n" in run.stderr


@pytest.mark.parametrize("rest", [["cal", "evt"], []], ids=["untrack", "forget"])
def test_a_mistyped_account_gets_the_nearest_known_ones(fleet: Fleet, rest: list[str]) -> None:
    """Exit code 1 for both commands."""
    person = fleet.person(zoom("pro_zoom"))
    command = ["untrack"] if rest else ["forget", "--yes"]

    run = fleet.run(*command, person.sub[:-1], *rest)

    assert (run.returncode, run.stdout) == (1, "")
    said = f"of {person.sub[:-1]} is not tracked." if rest else f"The account {person.sub[:-1]} is not known."
    assert said in run.stderr
    assert f"  {person.sub}\n" in run.stderr


def test_an_account_is_forgotten_when_told_so(fleet: Fleet) -> None:
    """With --yes nobody is asked; nothing is left of it."""
    person = fleet.person(zoom("pro_zoom"))
    person.stick("gone")
    person.write_and_track("gone", "pro_zoom")

    run = fleet.run("forget", person.sub, "--yes")

    assert run.returncode == 0, run.stderr
    assert run.stdout == f"Forgot {person.sub}, with its credentials and 1 pending event.\n"
    assert person.explain("gone") is None
    kept = ("account", "events", "settled", "hints")
    assert fleet.redis.exists(*(f"reconciler:{family}:{person.sub}" for family in kept)) == 0


def test_where_nobody_can_be_asked_nothing_is_forgotten(fleet: Fleet) -> None:
    """Exit code 2, and the option that is missing."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("kept", "pro_zoom")

    run = fleet.run("forget", person.sub)

    assert run.returncode == 2
    assert "--yes" in run.stderr
    assert person.explain("kept") is not None


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130)], ids=["yes", "no"])
def test_on_a_terminal_a_person_is_asked(fleet: Fleet, answer: str, code: int) -> None:
    """What would go is named; anything but yes leaves it."""
    person = fleet.person(zoom("pro_zoom"))
    person.stick("asked")
    person.write_and_track("asked", "pro_zoom")
    terminal = Terminal(fleet, "forget", person.sub)
    terminal.until("It cannot be undone")

    terminal.type(answer)

    assert terminal.code() == code
    assert "1 pending event" in terminal.shown
    assert (person.explain("asked") is None) == (code == 0)
