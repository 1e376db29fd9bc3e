"""A Redis that answers but takes no writes: what should tell an operator goes on, and names the cause."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from config.settings import load_settings
from tests.acceptance.processes import Child
from tests.faults.server import Server, running_server
from tests.integration.checked_fleet import AWAY
from tests.integration.ledgers import an_event
from tests.integration.served import serving
from tests.waiting import wait_until
from worker.cli import cli
from worker.doctor.examination import CHECKS, examine
from worker.doctor.finding import Health
from worker.ledger.ledger import Ledger
from worker.ledger.opening import open_ledger
from worker.ledger.records import to_ms
from worker.trouble import WORDS, Kind

TOKEN = "a-token-of-the-board"
KEYS = Fernet.generate_key().decode()


def full(server: Server, _: Path) -> None:
    """Its memory is full."""
    server.set(maxmemory="1")


def no_disk(server: Server, home: Path) -> None:
    """It cannot write its snapshot, as on a full disk."""
    shutil.rmtree(home)
    server.client.set("changed", 1)
    wait_until(
        lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err", 20, what="a failed save"
    )


def replica(server: Server, _: Path) -> None:
    """It was failed over."""
    server.client.replicaof("127.0.0.1", "1")


WHY: dict[str, tuple[Callable[[Server, Path], None], str, str]] = {
    "full": (full, "it is out of memory", "raise maxmemory, or free some"),
    "no disk": (no_disk, "it cannot write to its disk", "free space there"),
    "a replica": (replica, "it is a read-only replica", "name the primary in the URL"),
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A ledger with an event whose last sweep was long ago, which the environment names."""
    with running_server(tmp_path / "redis", save='"1 1"', appendonly="no") as running:
        monkeypatch.setenv("RECONCILER_REDIS_URL", running.url)
        monkeypatch.setenv("RECONCILER_VAULT_KEYS", KEYS)
        ledger = open_ledger(load_settings())
        ledger.track("acc", an_event())
        swept_long_ago(ledger)
        ledger.redis.close()
        yield running
        # Without saving it would not end.
        running.kill()


def swept_long_ago(ledger: Ledger) -> None:
    """As though beat could not reach it for ten minutes."""
    ledger.redis.set(ledger.keys.swept, to_ms(ledger.now()) - 600_000)


@pytest.mark.parametrize(("spoil", "why", "fix"), WHY.values(), ids=WHY)
def test_everything_that_tells_names_it(
    server: Server, tmp_path: Path, spoil: Callable[[Server, Path], None], why: str, fix: str
) -> None:
    """`status`, the board, the metrics and `doctor`, in the same words; none blames beat or a worker."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    tokens = {"board_token": TOKEN, "metrics_token": TOKEN}
    with serving(redis_url=server.url, vault_keys=KEYS, **tokens) as url:
        assert httpx.get(url, headers=bearer, trust_env=False).status_code == 200
        spoil(server, tmp_path / "redis")
        board, metrics = (
            httpx.get(f"{url}{path}", headers=bearer, trust_env=False) for path in ("/", "/metrics")
        )
    shown, as_json, listed, report = (
        CliRunner().invoke(cli, command.split(), catch_exceptions=False)
        for command in ("status", "status --json", "list", "report")
    )
    findings = examine(load_settings(), {name: CHECKS[name] for name in ("redis", "broker", "fleet")})

    assert f"Redis takes no writes: {why}: {fix}." in board.text
    assert "beat" not in board.text + shown.output
    assert WORDS[Kind.NO_WORKER].sentence not in board.text + shown.output
    assert "\nreconciler_writable 0.0" in metrics.text
    assert f"Redis takes no writes: {why}: {fix}." in " ".join(shown.output.split())
    assert json.loads(as_json.output)["attention"][0]["sentence"] == f"Redis takes no writes: {why}: {fix}."
    assert json.loads(as_json.output)["no_writes"] == f"{why}: {fix}"
    assert [each.exit_code for each in (shown, as_json, listed, report)] == [0, 0, 0, 0]
    assert "e1" in listed.output
    wrong = [
        (each.name, each.what, each.fix)
        for each in findings
        if each.health is Health.WRONG and each.name != "settings"
    ]
    assert wrong == [("redis", f"Redis takes no writes: {why}", fix)]
    unknown = {each.name for each in findings if each.health is Health.SKIPPED}
    assert {"broker", "workers", "queues", "beat"} <= unknown


@pytest.mark.parametrize(("spoil", "why", "fix"), WHY.values(), ids=WHY)
def test_a_command_that_has_to_write_says_why_it_cannot(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Server, Path], None],
    why: str,
    fix: str,
) -> None:
    """Instead of advice to start a server that runs."""
    from worker.cli import main  # noqa: PLC0415 - the console script itself

    spoil(server, tmp_path / "redis")
    monkeypatch.setattr("sys.argv", ["reconciler", "pause"])
    with pytest.raises(SystemExit):
        main()

    assert capsys.readouterr().err == f"reconciler: Redis takes no writes: {why}: {fix}.\n"


def test_a_worker_names_a_redis_that_was_killed_once(server: Server, tmp_path: Path) -> None:
    """In its log, whatever it was doing: here it was idle."""
    log = tmp_path / "worker.log"
    given = {"CRONOFY_CLIENT_ID": "x", "CRONOFY_CLIENT_SECRET": "y", "DATA_DIR": str(tmp_path)}
    environment = {**os.environ, **{f"RECONCILER_{name}": value for name, value in given.items()}}
    worker = Child(tmp_path, environment, log, "worker", "-c", "1")
    try:
        wait_until(lambda: server.client.zcard("reconciler:workers"), 30, 0.1, what="a worker")
        server.kill()
        wait_until(lambda: "redis.unavailable" in log.read_text(), 20, 0.1, what="its name in the log")
        server.start()
        wait_until(lambda: "redis.available" in log.read_text(), 20, 0.1, what="the end of the outage")
    finally:
        worker.end(30)

    assert log.read_text().count("redis.unavailable") == 1


def test_a_broker_that_is_the_ledgers_redis_is_not_ok_when_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is said of it that nobody knows."""
    monkeypatch.setenv("RECONCILER_REDIS_URL", f"redis://{AWAY}/0")
    findings = examine(load_settings(), {"broker": CHECKS["broker"]})
    [broker] = [each for each in findings if each.name == "broker"]

    assert (broker.health, broker.what) == (Health.SKIPPED, "the ledger's Redis, which is unavailable")
