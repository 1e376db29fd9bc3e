"""Every kind of Redis that the setting can name, and those that are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.acceptance.harness import Caller, Fleet, zoom
from tests.acceptance.processes import RECONCILER, environment, run_command
from tests.certificates import Certificate
from tests.faults.fleets import fleet_of_roles
from tests.faults.replication import replicated, watched
from tests.faults.server import running_server
from tests.faults.test_secrets_redis import ADMIN, SECURITY, WORKER, documented_users

SOUND = {"CRONOFY_CLIENT_ID": "id", "CRONOFY_CLIENT_SECRET": "secret", "VAULT_KEYS": "A" * 43 + "="}
ROLES = ("up", "worker", "beat", "serve")


@contextmanager
def _socket(home: Path) -> Iterator[Fleet]:
    path = home / "redis.sock"
    with running_server(home / "redis", unixsocket=str(path)), Redis(unix_socket_path=str(path)) as redis:
        # Callers and the test take Celery's and redis-py's own spelling.
        caller = Caller(f"redis+socket://{path}", f"redis+socket://{path}", redis_socket_keepalive=False)
        with fleet_of_roles(home / "fleet", ledger=f"unix://{path}", redis=redis, caller=caller) as fleet:
            yield fleet


@contextmanager
def _sentinels_with_tls(home: Path) -> Iterator[Fleet]:
    """Over TLS to servers and sentinels, as a user of least rights at both."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on PATH: the embedded one is built without TLS")
    tls = Certificate.made(home)
    with (
        replicated(home / "servers", binary, ADMIN, tls) as pair,
        watched(home / "sentinels", pair, binary, ADMIN, tls) as sentinels,
    ):
        for server in (pair.primary, pair.replica):
            for user in documented_users():
                # The sentinels and this test still need the default user.
                if user[0] != "default":
                    _acl(server.client, *user)
        [line] = [line for line in SECURITY.read_text().splitlines() if line.startswith("ACL SETUSER ")]
        for sentinel in sentinels.asked.sentinels:
            _acl(sentinel, *line.replace("SENTINEL_PASSWORD", "sentinel-password").split()[2:])
        caller = Caller(pair.primary.url + "&ssl_cert_reqs=required")
        url = sentinels.url(f"reconciler-worker:{WORKER}@", ("reconciler-worker", "sentinel-password"))
        with fleet_of_roles(
            home / "fleet", ledger=url, redis=Redis.from_url(pair.primary.url), caller=caller
        ) as fleet:
            yield fleet
            for each in (pair.primary.client, *sentinels.asked.sentinels):
                denied: Any = each.execute_command("ACL", "LOG")
                # Where 0.1.0 recorded what it held: these users have no rights to it.
                assert [entry for entry in denied if "unacked_index" not in str(entry)] == []


def _acl(client: Any, *user: str) -> None:
    client.execute_command("ACL", "SETUSER", *user)


@pytest.mark.parametrize("kind", [_socket, _sentinels_with_tls], ids=["a Unix socket", "Sentinel with TLS"])
def test_a_fleet_runs_on_every_kind_of_redis(tmp_path: Path, kind: Callable[[Path], Any], long: bool) -> None:
    """Ledger, broker, results, the doctor and the other commands all find it by the one setting."""
    if kind is _sentinels_with_tls and not long:
        pytest.skip("Sentinel with TLS belongs to the long form")
    with kind(tmp_path) as fleet:
        person = fleet.person(zoom("pro_zoom"))
        person.write_and_track("event", "pro_zoom")
        person.outcome("assigned", "event")

        checked = {each["name"]: each for each in json.loads(fleet.run("doctor", "--json").stdout)}
        states = [checked[name]["state"] for name in ("redis", "broker", "workers", "queues")]
        assert states == ["ok"] * 4
        forgotten = fleet.run("forget", person.sub, "--yes")
        assert (forgotten.returncode, forgotten.stderr) == (0, "")
        assert not [line for line in fleet.log.read_text().splitlines() if '"level": "error"' in line]
        assert WORKER not in fleet.log.read_text()


@pytest.mark.parametrize("setting", ["REDIS_URL", "BROKER_URL"])
def test_a_redis_cluster_is_refused(tmp_path: Path, setting: str, long: bool) -> None:
    """With the reason and the alternative, at the start of each role and by the doctor."""
    with (
        running_server(tmp_path / "plain") as plain,
        running_server(tmp_path / "cluster", cluster_enabled="yes") as cluster,
    ):
        ask: Callable[..., Any] = cluster.client.execute_command
        ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        env = environment(
            **{**SOUND, "REDIS_URL": plain.url, "DATA_DIR": str(tmp_path), setting: cluster.url}
        )
        # `up` checks as a worker does.
        roles = ROLES if long else ROLES[1:2]
        for role in roles if setting == "REDIS_URL" else ROLES[2:3]:
            run = run_command(tmp_path, env, role)
            assert run.returncode == 1
            [line] = run.stderr.splitlines()
            assert f"RECONCILER_{setting}" in line
            assert "Redis Cluster" in line
            assert "Sentinel" in line
        findings = json.loads(run_command(tmp_path, env, "doctor", "--json").stdout)
        name = "redis" if setting == "REDIS_URL" else "broker"
        [finding] = [each for each in findings if each["name"] == name and each["state"] == "wrong"]
        assert "Redis Cluster" in finding["what"]
        assert "Sentinel" in finding["mend"]


def test_a_malformed_url_is_a_sentence_at_the_start(tmp_path: Path, long: bool) -> None:
    """In each role and in the doctor: the setting and the fault, no traceback and no password."""
    env = environment(
        **SOUND, REDIS_URL="redis://:planted@127.0.0.1:1/0?nonsense=1", BROKER_URL="foo://planted"
    )
    for command in (*ROLES, "doctor") if long else ("worker", "doctor"):
        run = run_command(tmp_path, env, command)
        told = run.stdout + run.stderr
        assert run.returncode == 1
        assert "RECONCILER_REDIS_URL has the option nonsense" in told
        assert "RECONCILER_BROKER_URL must start with" in told
        assert "Traceback" not in told
        assert "planted" not in told


def test_an_argument_that_is_not_utf_8_is_wrong_usage(tmp_path: Path) -> None:
    """One sentence says which."""
    run = subprocess.run(
        [os.fsencode(RECONCILER), b"explain", b"acc", b"cal\xff", b"event"],
        cwd=tmp_path,
        env=environment(REDIS_URL="redis://127.0.0.1:1/0"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 2
    assert "Argument 3 is not UTF-8." in run.stderr
    assert "Traceback" not in run.stderr
