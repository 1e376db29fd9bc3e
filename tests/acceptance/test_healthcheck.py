"""The probe of containers: it fails for a process that is stuck, and for nothing else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.acceptance.processes import Child, environment, run_command
from tests.waiting import wait_until
from worker.host.embedded import embedded_server

#: How long a process may be silent here: far above what its loop takes, far below a test's patience.
STALE = 10


@dataclass
class Host:
    """A host on which one worker and one beat run."""

    home: Path
    env: dict[str, str]
    redis_pid: int
    children: dict[str, Child]

    def check(self, role: str) -> tuple[int, str]:
        """What the probe says: its exit code and its words."""
        run = run_command(self.home, self.env, "healthcheck", role, "--stale-after", str(STALE))
        return run.returncode, run.stdout + run.stderr

    def is_well(self, role: str) -> bool:
        """Whether the probe succeeds."""
        return self.check(role)[0] == 0

    def signal(self, role: str, number: signal.Signals) -> None:
        """Send a signal to the process itself."""
        os.kill(self.children[role].pid, number)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Both roles, with a server and a place for their files of their own."""
    home = tmp_path_factory.mktemp("host")
    with embedded_server(home / "redis") as url:
        env = environment(
            REDIS_URL=url,
            VAULT_KEYS=Fernet.generate_key().decode(),
            CRONOFY_CLIENT_ID="client",
            CRONOFY_CLIENT_SECRET="secret",
            DATA_DIR=str(home),
            SWEEP_EVERY="0.5",
        )
        env["TMPDIR"] = str(home)
        with Redis.from_url(url) as redis:
            redis_pid = int(redis.info("server")["process_id"])
        host = Host(home, env, redis_pid, {})
        for role in ("worker", "beat"):
            assert host.check(role)[0] == 1, "never started"
            host.children[role] = Child(home, env, home / f"{role}.log", role)
        try:
            for role in host.children:
                wait_until(partial(host.is_well, role), 20, what=f"{role} to be well")
            yield host
        finally:
            for child in host.children.values():
                child.ask_to_end()
            for child in host.children.values():
                child.end()


ROLES = ["worker", "beat"]


@pytest.mark.parametrize("role", ROLES)
def test_a_stopped_process_is_stuck_until_it_goes_on(host: Host, role: str) -> None:
    """1 while it is stopped, with its pid; the other one is not blamed; 0 when it goes on."""
    [other] = set(ROLES) - {role}

    host.signal(role, signal.SIGSTOP)
    try:
        wait_until(lambda: not host.is_well(role), STALE + 20, 0.5, what="the stop to be noticed")
        code, words = host.check(role)
        assert (code, host.is_well(other)) == (1, True)
        assert f"pid {host.children[role].pid}" in words
        assert "stuck" in words
    finally:
        host.signal(role, signal.SIGCONT)

    wait_until(lambda: host.is_well(role), 20, 0.5, what="it to be well again")


def test_an_outage_of_redis_alone_fails_nothing(host: Host) -> None:
    """Both are well for longer than they may be silent, while no server listens."""
    os.kill(host.redis_pid, signal.SIGKILL)
    with Redis.from_url(host.env["RECONCILER_REDIS_URL"], retry=None) as redis:
        wait_until(lambda: _is_away(redis), what="the server to be gone")

    end = time.monotonic() + 1.5 * STALE
    while time.monotonic() < end:
        assert [host.check(role)[0] for role in ROLES] == [0, 0]


def _is_away(redis: Redis) -> bool:
    try:
        redis.ping()
    except RedisConnectionError:
        return True
    return False


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_process_is_not_there(host: Host, role: str) -> None:
    """1 at once, whatever it left behind."""
    host.signal(role, signal.SIGKILL)
    host.children[role].process.wait(10)

    code, words = host.check(role)

    assert code == 1
    assert f"No {role}" in words


def test_another_role_is_wrong_usage(tmp_path: Path) -> None:
    """Exit code 2."""
    assert run_command(tmp_path, environment(), "healthcheck", "redis").returncode == 2
