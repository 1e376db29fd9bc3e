"""Whatever others put into ids, texts, reasons and keys, no command lets a terminal act on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from tests.acceptance.processes import environment, run_command
from tests.hostile import ACTING, SURROGATE, harmless
from tests.integration.checked_fleet import AWAY
from tests.integration.ledgers import an_event
from worker.cli import COMMANDS, main
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.vault import Vault

SUB, CALENDAR, EVENT = f"acc{ACTING}", f"cal{ACTING}", f"e{ACTING}"
#: Which run until they are stopped; what they show is log lines (`tests/unit/test_terminal.py`).
ROLES = {"demo", "up", "worker", "beat", "serve", "sandbox"}
#: Every other command, with arguments that make it show what is hostile.
WALK = {
    "status": [["status"], ["status", "--json"]],
    "explain": [
        ["explain", "--offline", SUB, CALENDAR, EVENT],
        ["explain", "--offline", "--json", SUB, CALENDAR, EVENT],
        ["explain", "--offline", SUB, CALENDAR, f"{EVENT}x"],
        ["explain", SUB, CALENDAR, EVENT],
    ],
    "list": [
        ["list"],
        ["list", "--json"],
        ["list", "--provider", ACTING],
        ["list", "--after", ACTING],
        ["list", "--starts-before", ACTING],
    ],
    "report": [["report"], ["report", "--json"], ["report", "--html"]],
    "incidents": [["incidents"], ["incidents", "--json"], ["list", "--incident", ACTING]],
    "acknowledge": [
        ["acknowledge", SUB, CALENDAR, EVENT, "--note", ACTING, "--by", ACTING],
        ["acknowledge", SUB, CALENDAR, f"{EVENT}x"],
        ["acknowledge", SUB, CALENDAR, EVENT, "--until", ACTING],
        ["list", "--acknowledged"],
        ["acknowledge", SUB, CALENDAR, EVENT, "--withdraw"],
    ],
    "choose": [
        ["choose", "--incident", ACTING, "--to", ACTING, "--yes"],
        ["choose", SUB, f"pro{ACTING}"],
        ["choose", SUB, f"pro{ACTING}", "--to", f"pro{ACTING}", "--by", ACTING, "--json"],
        ["choose", f"{SUB}x", f"pro{ACTING}", "--withdraw"],
    ],
    "untrack": [["untrack", SUB, CALENDAR, f"{EVENT}x"], ["untrack", SUB, CALENDAR, EVENT]],
    "forget": [["forget", f"{SUB}x", "--yes"], ["forget", SUB], ["forget", SUB, "--yes"]],
    "track": [["track", "lines"], ["track", f"no{ACTING}"]],
    "connect": [["connect", "lines"]],
    "adopt": [["adopt"], ["adopt", SUB, f"{SUB}x", "--dry-run"], ["adopt", "--json"]],
    "dead-letters": [
        ["dead-letters"],
        ["dead-letters", "--json"],
        ["dead-letters", "show", "ID"],
        ["dead-letters", "show", "ID", "--json"],
        ["dead-letters", "show", f"1-1{ACTING}"],
        ["dead-letters", "replay", "ID", "--set", f"a.b{ACTING}=1"],
        ["dead-letters", "replay", "ID", "--set", f"{ACTING}=x"],
        ["dead-letters", "drop", f"1-1{ACTING}", "--yes"],
    ],
    "outcomes": [
        ["outcomes"],
        ["outcomes", "--json"],
        ["outcomes", "replay", ACTING],
        ["outcomes", "replay", "--since", ACTING],
        ["outcomes", "replay", "--given-up"],
        ["outcomes", "drop", ACTING, "--yes"],
    ],
    "doctor": [["doctor"], ["doctor", "--json"]],
    "probe": [["probe", SUB, "--reads-only"], ["probe", f"{SUB}x", "--reads-only"], ["probe", SUB, "--yes"]],
    "letters": [
        ["letters"],
        ["letters", "--json"],
        ["letters", "preview", "relink", "--event", SUB, CALENDAR, EVENT],
        ["letters", "preview", "fallback", "--event", SUB, CALENDAR, EVENT, "--html"],
        ["letters", "preview", "relink", "--send-to", f"dana{ACTING}@example.org"],
        ["letters", "preview", ACTING],
    ],
    "pause": [["pause"], ["pause", ACTING]],
    "resume": [["resume"]],
    "reseal": [["reseal"], ["reseal", "--json"]],
    "healthcheck": [["healthcheck", ACTING], ["healthcheck", "worker"]],
}


@dataclass(frozen=True, slots=True)
class World:
    """A ledger full of such text, and the settings that name it."""

    home: Path
    env: dict[str, str]
    letter: str


@pytest.fixture
def world(redis: Redis, redis_url: str, prefix: str, tmp_path: Path) -> World:
    """An account, an event, a dead letter, a neighbour's key and lines to import."""
    key = Fernet.generate_key().decode()
    ledger = Ledger(redis, prefix, Vault([key]), timedelta(days=7), 1000)
    ledger.connect(
        Connecting(SUB, Credentials("refresh", "access"), "us", f"dana{ACTING}@example.org", f"Dana{ACTING}")
    )
    event = an_event(EVENT, calendar_id=CALENDAR)
    texts = dict.fromkeys(("summary", "description", "conferencing"), f"x{ACTING}")
    ledger.track(SUB, replace(event, body={**event.body, **texts}, provider_name=f"zoom{ACTING}"))
    ledger.track(SUB, replace(an_event(f"other{ACTING}", calendar_id=CALENDAR), provider_name=ACTING))
    letters = ledger.dead_letters
    letter = letters.keep(
        f"task{ACTING}", f"bad{ACTING}{SURROGATE}", (), {"a": [], ACTING: f"{ACTING}{SURROGATE}"}
    )
    dead = {"outcome": {"id": ACTING, "type": ACTING, "sub": SUB}, "reason": ACTING, "tries": 3, "at": 0}
    redis.hset(f"{prefix}:outcomes:dead:url", "1-1", json.dumps(dead))
    redis.set(f"{prefix}-neighbour{ACTING}:1", 1)
    lines = [
        {"sub": SUB, "calendar_id": CALENDAR, "event": {}, ACTING: 1},
        {ACTING: ACTING},
        {"colour": ACTING},
    ]
    (tmp_path / "lines").write_text("\n".join(map(json.dumps, lines)))
    env = environment(
        REDIS_URL=redis_url,
        KEY_PREFIX=prefix,
        VAULT_KEYS=key,
        CRONOFY_CLIENT_ID="id",
        CRONOFY_CLIENT_SECRET="client-secret",
        CRONOFY_API_URL=f"http://{AWAY}",
        SMTP_URL=f"smtp://{AWAY}",
        APPLICATION_NAME=f"Acme{ACTING}",
        DATA_DIR=str(tmp_path),
    )
    return World(tmp_path, env, letter)


@pytest.fixture
def run(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command in this process, and returns all that it printed."""
    monkeypatch.chdir(world.home)
    for name, value in world.env.items():
        if name.startswith("RECONCILER_"):
            monkeypatch.setenv(name, value)

    def run(*args: str) -> str:
        given = [world.letter if arg == "ID" else arg for arg in args]
        if given[:2] == ["dead-letters", "replay"]:
            # Configures Celery, of which a process has one.
            done = run_command(world.home, world.env, *given)
            return done.stdout + done.stderr
        monkeypatch.setattr(sys, "argv", ["reconciler", *given])
        with suppress(SystemExit):
            main()
        captured = capsys.readouterr()
        return captured.out + captured.err

    return run


def test_the_walk_leaves_no_command_out() -> None:
    """A new command needs its place here."""
    assert WALK.keys() | ROLES == COMMANDS.keys()


@pytest.mark.parametrize("name", WALK)
def test_no_command_shows_what_acts_on_a_terminal(run: Callable[..., str], name: str) -> None:
    """Each form of each command, with what it found, with what it did not find, and with wrong usage."""
    for args in WALK[name]:
        output = run(*args)

        assert output.strip()
        assert harmless(output), f"{args!a}: {output!a}"


def test_what_is_hostile_is_shown_all_the_same(run: Callable[..., str]) -> None:
    """Escaped, so that a person sees it."""
    assert "acc\\u001b]0;pwned\\u0007" in run("status")
    assert "bad\\u001b]0;pwned\\u0007" in run("dead-letters", "show", "ID")
    assert json.loads(run("status", "--json"))["soonest"][0]["sub"] == SUB
    assert json.loads(run("dead-letters", "show", "ID", "--json"))["kwargs"][ACTING] == f"{ACTING}{SURROGATE}"
