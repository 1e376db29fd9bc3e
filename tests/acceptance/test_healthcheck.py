"""The container probe: it fails for a process that is stuck or gone, and for nothing else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.acceptance.processes import Child, environment, run_command
from tests.waiting import wait_until
from worker.host.embedded import embedded_server

#: How long a process may be silent here: an idle loop reports every two seconds.
STALE = 6
ROLES = ["worker", "beat"]


@dataclass
class Host:
    """A host running one worker and one beat."""

    home: Path
    env: dict[str, str]
    redis: Redis
    children: dict[str, Child] = field(default_factory=dict)

    def check(self, role: str) -> tuple[int, str]:
        run = run_command(self.home, self.env, "healthcheck", role, "--stale-after", str(STALE))
        return run.returncode, run.stdout + run.stderr

    def becomes(self, role: str, code: int) -> None:
        """Wait until the probe has this exit code."""
        wait_until(lambda: self.check(role)[0] == code, STALE + 30, 1, what=f"{code} of the probe of {role}")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Both roles, with a server and a directory of their own."""
    home = tmp_path_factory.mktemp("host")
    with embedded_server(home / "redis") as url, Redis.from_url(url, retry=None) as redis:
        client = {"CRONOFY_CLIENT_ID": "client", "CRONOFY_CLIENT_SECRET": "secret"}
        keys = Fernet.generate_key().decode()
        env = environment(REDIS_URL=url, VAULT_KEYS=keys, DATA_DIR=str(home), SWEEP_EVERY="0.5", **client)
        host = Host(home, {**env, "TMPDIR": str(home)}, redis)
        assert [host.check(role)[0] for role in ROLES] == [1, 1], "never started"
        for role in ROLES:
            host.children[role] = Child(home, host.env, home / f"{role}.log", role)
        try:
            for role in ROLES:
                host.becomes(role, 0)
            yield host
        finally:
            for child in host.children.values():
                child.ask_to_end()
            for child in host.children.values():
                child.end()


@pytest.mark.parametrize("role", ROLES)
def test_a_stopped_process_is_stuck_until_it_continues(host: Host, role: str) -> None:
    """1 while it is stopped, with its pid; the other one is unaffected; 0 when it continues."""
    [other] = set(ROLES) - {role}
    pid = host.children[role].pid

    os.kill(pid, signal.SIGSTOP)
    try:
        host.becomes(role, 1)
        words = host.check(role)[1]
        assert (f"pid {pid}" in words, "stuck" in words) == (True, True)
        assert host.check(other)[0] == 0
    finally:
        os.kill(pid, signal.SIGCONT)

    host.becomes(role, 0)


def test_a_redis_that_takes_no_writes_fails_nothing(host: Host) -> None:
    """Nor if both have to connect to it again meanwhile."""
    host.redis.config_set("maxmemory", 1)
    host.redis.client_kill_filter(_type="normal")

    try:
        stay_healthy(host)
    finally:
        host.redis.config_set("maxmemory", 0)


def test_an_outage_of_redis_alone_fails_nothing(host: Host) -> None:
    """While no server is listening."""
    os.kill(int(dict(host.redis.info("server"))["process_id"]), signal.SIGKILL)
    wait_until(lambda: _is_away(host.redis), what="the server to be gone")

    stay_healthy(host)


def stay_healthy(host: Host) -> None:
    """Both are healthy, for longer than they may be silent."""
    end = time.monotonic() + STALE + 2
    while time.monotonic() < end:
        assert [host.check(role)[0] for role in ROLES] == [0, 0]
        time.sleep(2)


def _is_away(redis: Redis) -> bool:
    try:
        redis.ping()
    except RedisConnectionError:
        return True
    return False
