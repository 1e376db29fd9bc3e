"""Each role starts with only the secrets that docs/deployment.md gives it, each in a file."""

from __future__ import annotations

import json
import shlex
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from redis import Redis

from config.settings import SettingsError
from sandbox.server import RunningSandbox
from tests.acceptance.processes import Child, environment, run_command
from tests.contract.documents import code, table
from tests.integration.ledgers import an_event
from tests.waiting import wait_until
from worker.cli import cli
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.vault import Vault

KEY = urlsafe_b64encode(bytes(range(32))).decode()
ROWS = [
    (command.removeprefix("reconciler "), code(row[1]))
    for row in table("docs/deployment.md", "command")
    for command in code(row[0])
]
#: They run until they are stopped, and say when they are ready.
LASTING = ("worker", "beat", "serve")
ROLES = [row for row in ROWS if row[0].startswith(LASTING)]
COMMANDS = [row for row in ROWS if not row[0].startswith(LASTING)]
#: Without these a role starts all the same, and does less.
OPTIONAL = {"RECONCILER_SMTP_URL", "RECONCILER_BOARD_TOKEN", "RECONCILER_METRICS_TOKEN"}


class Place:
    """A ledger with one event, and directories with some of the fleet's secrets."""

    def __init__(self, home: Path, url: str, running: RunningSandbox) -> None:
        self.home, self._running = home, running
        self._values = {
            "RECONCILER_REDIS_URL": url,
            "RECONCILER_VAULT_KEYS": KEY,
            "RECONCILER_CRONOFY_CLIENT_SECRET": "sandbox-secret",
            "RECONCILER_SMTP_URL": running.smtp_url,
            "RECONCILER_BOARD_TOKEN": "a-token-for-the-board",
            "RECONCILER_METRICS_TOKEN": "a-token-for-the-metrics",
        }
        self.words = {"SUB": "acc", "CALENDAR": "cal", "EVENT": "e1", "FILE": str(home / "events.jsonl")}
        event = {"event_id": "e2", "start": "2035-01-01T10:00:00Z", "end": "2035-01-01T11:00:00Z"}
        line = json.dumps({"sub": "acc", "calendar_id": "cal", "event": event})
        (home / "events.jsonl").write_text(line)

    def env(self, name: str, secrets: list[str]) -> dict[str, str]:
        """The environment of a process with these secrets, which are only in files."""
        directory = self.home / name
        directory.mkdir(exist_ok=True)
        for secret in secrets:
            (directory / secret).write_text(self._values[secret] + "\n")
        return environment(
            SECRETS_DIR=str(directory),
            CRONOFY_CLIENT_ID="sandbox-client",
            CRONOFY_API_URL=self._running.url,
            DATA_DIR=str(self.home),
            APPLICATION_NAME="Acme Hiring",
            LOG_FORMAT="json",
        )

    def args(self, command: str) -> list[str]:
        """A command line of the table, with its names filled in."""
        words = [self.words.get(word, word) for word in shlex.split(command)]
        return words + {"serve": ["--port", "0"], "forget": ["--yes"]}.get(words[0], [])


@pytest.fixture
def place(redis_url: str, running: RunningSandbox, tmp_path: Path) -> Iterator[Place]:
    """In a database of its own, since the table names the queues as they are by default."""
    url = f"{redis_url.rpartition('/')[0]}/8"
    with Redis.from_url(url) as redis:
        redis.flushdb()
        ledger = Ledger(redis, "reconciler", Vault([KEY]), timedelta(days=7), 1000)
        ledger.connect(Connecting("acc", Credentials("refresh", "access"), "us", None, None))
        ledger.track("acc", an_event(due=False))
        yield Place(tmp_path, url, running)
        redis.flushdb()


def test_every_role_starts_with_its_own_secrets(place: Place) -> None:
    """All at once; each says that it is ready."""
    with ExitStack() as stack:
        logs, children = [], []
        for number, (command, secrets) in enumerate(ROLES):
            logs.append(place.home / f"{number}.log")
            children.append(
                Child(place.home, place.env(str(number), secrets), logs[-1], *place.args(command))
            )
            stack.callback(children[-1].end)
        wait_until(lambda: all(".ready" in log.read_text() for log in logs), 30, what="every role")
        for child in children:
            child.ask_to_end()


def test_every_command_works_with_its_own_secrets(place: Place) -> None:
    """In the order of the table; only the doctor changes more of its process than a test may."""
    for number, (command, secrets) in enumerate(COMMANDS):
        env, args = place.env(str(number), secrets), place.args(command)
        if command == "doctor --json":
            findings = json.loads(run_command(place.home, env, *args).stdout)
            wrong = {each["name"] for each in findings if each["state"] == "wrong"}
            assert not wrong & {"settings", "redis", "vault keys", "cronofy"}
        else:
            ran = CliRunner().invoke(cli, args, env=env)
            assert ran.exit_code == 0, (command, ran.output, ran.exception)


def test_each_secret_of_a_role_is_needed(place: Place) -> None:
    """Without one it does not start, and names it."""
    for number, (command, secrets) in enumerate(ROLES):
        for missing in set(secrets) - OPTIONAL:
            env = place.env(f"{number} without {missing}", [name for name in secrets if name != missing])
            refused = CliRunner().invoke(cli, place.args(command), env=env).exception
            assert isinstance(refused, SettingsError), command
            assert missing in str(refused)


def test_a_worker_that_posts_does_not_start_without_what_signs(place: Place) -> None:
    """One that takes the queue of what goes out; the sentence names both settings. Others do without."""
    env = place.env("unsigned", next(secrets for command, secrets in ROLES if "looks" in command))
    env["RECONCILER_OUTCOME_URL"] = "https://hooks.example.com/outcomes"
    log = place.home / "looking.log"
    looking = Child(place.home, env, log, "worker", "-Q", "reconciler.looks", "--concurrency", "1")
    for queues in (
        (),
        ("-Q", "reconciler.mail"),
        ("--queues=other,reconciler.mail",),
        ("-Qreconciler.mail",),
    ):
        refused = CliRunner().invoke(cli, ["worker", *queues], env=env).exception
        assert isinstance(refused, SettingsError)
        assert "RECONCILER_OUTCOME_SECRET must be set where outcomes are posted to" in str(refused)

    wait_until(lambda: ".ready" in log.read_text(), 30, what="the worker that only looks")
    looking.end()


@pytest.mark.parametrize(
    ("role", "celerys"), [("worker", "--max-tasks-per-child"), ("beat", "--max-interval")]
)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_of_a_role_has_the_options_that_go_to_celery(
    tmp_path: Path, role: str, celerys: str, option: str
) -> None:
    """Without any setting."""
    shown = run_command(tmp_path, environment(), role, option)

    assert shown.returncode == 0
    assert celerys in shown.stdout
