"""A ledger that a newer version has changed is refused: by each role at its start, and by each command."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from worker import cli
from worker.ledger.layout import LAYOUT, NewerLedger, identity_of, layout_of, settle
from worker.ledger.ledger import Ledger

#: Every command that uses a ledger.
COMMANDS = {
    **{name: name for name in ("up", "worker", "beat", "serve", "status", "pause", "resume")},
    "track": "track events.jsonl",
    "connect": "connect events.jsonl",
    "adopt": "adopt",
    "untrack": "untrack acc cal event",
    "list": "list",
    "incidents": "incidents",
    "report": "report",
    "acknowledge": "acknowledge acc cal event",
    "forget": "forget acc --yes",
    "reseal": "reseal",
    "choose": "choose acc pro_a --to default",
    "explain": "explain acc cal event",
    "explain --offline": "explain acc cal event --offline",
    "letters": "letters preview relink --event acc cal event",
    "probe": "probe acc --reads-only",
    "dead-letters": "dead-letters",
    "dead-letters replay": "dead-letters replay --all",
    "outcomes": "outcomes",
    "outcomes --follow": "outcomes --follow",
    "outcomes replay": "outcomes replay --since PT1H",
    "outcomes drop": "outcomes drop --all --yes",
    "dead-letters drop": "dead-letters drop --all --yes",
}


@pytest.fixture
def newer(
    redis: Redis, ledger: Ledger, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> bytes:
    """A ledger of the next layout, which the environment names."""
    redis.hset(ledger.keys.about, "layout", LAYOUT + 1)
    settings = {
        "REDIS_URL": redis_url,
        "KEY_PREFIX": prefix,
        "VAULT_KEYS": Fernet.generate_key().decode(),
        "CRONOFY_CLIENT_ID": "sandbox-client",
        "CRONOFY_CLIENT_SECRET": "sandbox-secret",
        "CRONOFY_API_URL": "http://127.0.0.1:1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)
    Path("events.jsonl").write_text("")
    return _content(redis, prefix)


def _content(redis: Redis, prefix: str) -> bytes:
    return b"".join(redis.dump(key) or b"" for key in sorted(redis.scan_iter(match=f"{prefix}:*")))


def _run(arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["reconciler", *arguments.split()])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_newer_ledger_is_refused_and_left_as_it_is(
    newer: bytes,
    redis: Redis,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: str,
) -> None:
    """One sentence says what to do, the exit code is 1, and nothing is written."""
    code = _run(arguments, monkeypatch)

    shown = capfd.readouterr().err
    assert code == 1
    assert f"has layout {LAYOUT + 1}" in shown
    assert "Run the newer version" in shown
    assert "Traceback" not in shown
    assert _content(redis, prefix) == newer


def test_every_command_with_a_ledger_is_tried() -> None:
    """The others use none: the demo makes its own."""
    tried = {arguments.split()[0] for arguments in COMMANDS.values()} | {"doctor"}

    assert tried == set(cli.COMMANDS) - {"demo", "sandbox", "healthcheck"}


def test_the_doctor_names_a_newer_ledger_and_checks_nothing_else(
    newer: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One finding says what is wrong and how to fix it; the exit code is 1."""
    code = _run("doctor --json", monkeypatch)

    [finding] = json.loads(capfd.readouterr().out)
    assert code == 1
    assert (finding["name"], finding["state"]) == ("ledger", "wrong")
    assert f"layout {LAYOUT + 1}" in finding["what"]
    assert "Run the newer version" in finding["mend"]


def test_a_ledger_without_a_number_is_the_first_versions(redis: Redis, ledger: Ledger) -> None:
    """It is numbered once; a number that stands is kept."""
    assert layout_of(redis, ledger.keys) == 1
    settle(redis, ledger.keys)
    settle(redis, ledger.keys)
    assert redis.hgetall(ledger.keys.about) == {b"layout": str(LAYOUT).encode()}

    redis.hset(ledger.keys.about, "layout", LAYOUT + 1)
    with pytest.raises(NewerLedger):
        settle(redis, ledger.keys)
    assert redis.hget(ledger.keys.about, "layout") == str(LAYOUT + 1).encode()


def test_a_ledger_keeps_its_identity(ledger: Ledger, redis: Redis) -> None:
    """The id is made when first asked for; another ledger has another."""
    other = Ledger(redis, f"{ledger.prefix}-other", ledger.vault, timedelta(days=7), 1000)

    first, again, theirs = (identity_of(redis, each.keys) for each in (ledger, ledger, other))
    assert first == again != theirs
