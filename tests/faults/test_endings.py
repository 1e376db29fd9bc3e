"""How processes end: what asks them to, what comes of those that hang, and their exit codes."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from tests.acceptance.processes import RECONCILER, children_of, environment, runs
from tests.faults.server import running_server
from tests.waiting import wait_until

LIMIT = 3
#: Beyond the time limit of a task, as the contract says.
LAST = 5
_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Host:
    """A host on which commands run, each with a log of its own."""

    home: Path
    env: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, *command: str, log: int | None = None, prepare: Callable[[], Any] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own. It heeds SIGHUP, even if nohup started the tests."""

        def fresh() -> None:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            if prepare:
                prepare()

        with (self.home / "log").open("ab") as file:
            output = file if log is None else log
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=self.env,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=fresh,  # noqa: PLW1509 - what it calls takes no lock
            )
        self.running.append(process)
        return process

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log with this event."""
        found = [line for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, found) if line["event"] == event]

    def appears(self, event: str, times: int = 1) -> None:
        """Wait until the log has this many lines with this event."""
        wait_until(lambda: len(self.lines(event)) >= times, 30, what=f"{event} in {self.home / 'log'}")

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()


@pytest.fixture
def host(tmp_path: Path, redis_url: str, prefix: str) -> Iterator[Host]:
    """At its end, no process of it is left."""
    settings = {
        "REDIS_URL": redis_url,
        "KEY_PREFIX": prefix,
        "VAULT_KEYS": Fernet.generate_key().decode(),
        "CRONOFY_CLIENT_ID": "client",
        "CRONOFY_CLIENT_SECRET": "secret",
        "DATA_DIR": str(tmp_path),
        "LOG_FORMAT": "json",
        "SWEEP_EVERY": "0.5",
        "HTTP_TIMEOUT": "1",
        "LOOK_TIMEOUT": "2",
        # On a busy machine an end takes longer than it does elsewhere.
        "TASK_TIME_LIMIT": "25",
    }
    host = Host(tmp_path, {**environment(**settings), "TMPDIR": str(tmp_path)})
    try:
        yield host
    finally:
        for process in host.running:
            for pid in (process.pid, *descendants(process.pid)):
                if runs(pid):
                    os.kill(pid, signal.SIGKILL)
            process.wait(5)


def descendants(pid: int) -> list[int]:
    """The pids of all processes below this one."""
    return [each for child in children_of(pid) for each in (child, *descendants(child))]


def ignores(pid: int, number: signal.Signals) -> bool:
    """Whether the process ignores this signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigIgn:")[2].split()[0], 16)
    return bool(mask & 1 << number - 1)


def test_a_worker_that_fails_says_so_by_its_exit_code(host: Host, redis: Redis, prefix: str) -> None:
    """1, so that a supervisor restarts it. Here somebody put junk in a queue's place."""
    worker = host.start(str(RECONCILER), "worker")
    host.appears("worker.ready")

    redis.delete(f"{prefix}.urgent")
    redis.set(f"{prefix}.urgent", "junk")
    code = worker.wait(30)

    assert code == 1, host.log
    assert "Unrecoverable error" in host.log


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_worker_asked_to_end_exits_with_0(host: Host, long: bool, number: signal.Signals) -> None:
    """Whichever signal asks for it, and even if its whole group gets it; it does not start itself again."""
    if number is not signal.SIGHUP and not long:
        pytest.skip("signals other than SIGHUP belong to the long form")
    worker = host.start(str(RECONCILER), "worker")
    host.appears("worker.ready")
    pool = children_of(worker.pid)
    # The last thing that they do before their first task.
    wait_until(lambda: all(ignores(pid, signal.SIGHUP) for pid in pool), 30, what="the start of its pool")

    os.killpg(worker.pid, number)

    assert worker.wait(30) == 0, host.log
    assert [pid for pid in pool if runs(pid)] == []
    assert len(host.lines("worker.ready")) == 1
    # The pool itself did not act on it: it was to finish its tasks.
    assert "exited with" not in host.log


def test_a_worker_asked_to_end_many_times_ends_once(host: Host, long: bool) -> None:
    """Each signal may come within the handler of the one before, as from `up` and its supervisor at once."""
    if not long:
        pytest.skip("this belongs to the long form; one signal within another is shown by a unit test")
    worker = host.start(str(RECONCILER), "worker")
    host.appears("worker.ready")

    for _ in range(300):
        worker.terminate()
        time.sleep(0.0002)

    assert worker.wait(20) == 0, host.log


def test_nohup_is_respected(host: Host, long: bool) -> None:
    """Started so that it outlives its terminal, it does."""
    if not long:
        pytest.skip("this belongs to the long form")
    worker = host.start(
        str(RECONCILER), "worker", prepare=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    host.appears("worker.ready")

    os.killpg(worker.pid, signal.SIGHUP)
    time.sleep(1)

    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_worker_that_cannot_end_is_ended(host: Host) -> None:
    """A process of its pool hangs: soon after the time limit it exits with 1, and says where it hung."""
    host.env["RECONCILER_TASK_TIME_LIMIT"] = str(LIMIT)
    worker = host.start(str(RECONCILER), "worker")
    host.appears("worker.ready")
    pool = children_of(worker.pid)
    # Their first step is to ask Linux to end them with the worker; the next is to ignore Ctrl-C.
    wait_until(lambda: all(ignores(pid, signal.SIGINT) for pid in pool), 30, what="the start of its pool")
    os.kill(pool[0], signal.SIGSTOP)
    began = time.monotonic()

    worker.terminate()
    code = worker.wait(LIMIT + LAST + 20)

    assert code == 1
    assert time.monotonic() - began > LIMIT
    assert "Timeout" in host.log
    wait_until(lambda: not any(map(runs, pool)), 30, what="the end of its pool")


@pytest.mark.parametrize("terminal", [False, True], ids=["output in a file", "output on the terminal"])
def test_a_closed_terminal_ends_up(host: Host, long: bool, terminal: bool) -> None:
    """Nothing is left behind, and nothing starts itself again."""
    if terminal and not long:
        pytest.skip("output on the terminal belongs to the long form")
    ours, theirs = pty.openpty()

    def in_the_foreground() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    up = host.start(str(RECONCILER), "up", log=theirs if terminal else None, prepare=in_the_foreground)
    os.close(theirs)
    seen = b""
    while terminal and b"worker.ready" not in seen:
        seen += os.read(ours, 65536)
    if not terminal:
        host.appears("worker.ready")
    processes = descendants(up.pid)
    assert len(processes) >= 6

    os.close(ours)

    assert up.wait(40) == 0
    assert [pid for pid in processes if runs(pid)] == []
    assert len(host.lines("worker.ready")) == (0 if terminal else 1)


def test_what_starts_waits_for_a_busy_server(host: Host, tmp_path: Path, long: bool) -> None:
    """Somebody's script runs on it for seconds: worker and beat wait, then work."""
    with running_server(tmp_path / "busy") as server:
        host.env["RECONCILER_REDIS_URL"] = server.url
        with server.busy():
            processes = [host.start(str(RECONCILER), role) for role in ("worker", "beat")]
            host.appears("redis.unreachable")
            time.sleep(15 if long else 1)
            assert [process.poll() for process in processes] == [None, None], host.log
        host.appears("worker.ready")
        swept = f"{host.env['RECONCILER_KEY_PREFIX']}:swept"
        wait_until(lambda: server.client.exists(swept), 20, what="a sweep")


def test_a_busy_server_does_not_keep_what_ends(host: Host, tmp_path: Path, long: bool) -> None:
    """Worker and beat end, in order, while somebody's script runs on it."""
    if not long:
        pytest.skip("this belongs to the long form")
    with running_server(tmp_path / "busy") as server:
        # A task may take longer than one read waits.
        host.env |= {"RECONCILER_REDIS_URL": server.url, "RECONCILER_TASK_TIME_LIMIT": "20"}
        processes = [host.start(str(RECONCILER), role) for role in ("worker", "beat")]
        host.appears("worker.ready")
        host.appears("beat.ready")
        with server.busy():
            time.sleep(12)
            assert [process.poll() for process in processes] == [None, None], host.log
            for process in processes:
                process.terminate()
            assert [process.wait(20 + LAST) for process in processes] == [0, 0], host.log


def test_the_pool_of_a_worker_that_is_killed_ends_with_it(host: Host) -> None:
    """Even if its processes have only just been forked, and Linux was not yet asked to end them, too."""
    worker = host.start(str(RECONCILER), "worker", "--concurrency", "4")
    wait_until(lambda: len(children_of(worker.pid)) == 4, 30, 0.001, what="the pool")
    pool = children_of(worker.pid)

    worker.kill()

    wait_until(lambda: not any(runs(pid) for pid in pool), 5, what="no process of the pool")


def test_up_reaps_what_others_leave_behind(host: Host, long: bool) -> None:
    """As a container's first process it inherits the orphans: here the pool of a worker that was killed."""
    if not long:
        pytest.skip("this belongs to the long form")

    def like_process_1() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

    up = host.start(str(RECONCILER), "up", prepare=like_process_1)
    host.appears("worker.ready")
    worker, pool = next((pid, pool) for pid in children_of(up.pid) if (pool := children_of(pid)))

    os.kill(worker, signal.SIGKILL)

    host.appears("worker.ready", 2)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pool), 5, what="no zombies")
    assert [line["status"] for line in host.lines("process.died")] == [-signal.SIGKILL]
    up.terminate()
    assert up.wait(40) == 0


_QUICK_TO_SUSPECT = """
from datetime import timedelta
from worker.host import supervisor
supervisor.LOOK_SECONDS, supervisor.STALE_SECONDS = 2, 4
supervisor.Crew({"beat": ["beat"]}, {}, timedelta(seconds=5)).run()
"""


def test_up_restarts_what_is_stuck(host: Host, long: bool) -> None:
    """What `healthcheck` calls stuck is killed and started again; here after four seconds, not 90."""
    if not long:
        pytest.skip("this belongs to the long form")
    crew = host.start(sys.executable, "-c", _QUICK_TO_SUSPECT)
    host.appears("beat.ready")
    [stuck] = children_of(crew.pid)

    os.kill(stuck, signal.SIGSTOP)

    host.appears("beat.ready", 2)
    assert not runs(stuck)
    assert "process.stuck" in host.log
    crew.terminate()
    assert crew.wait(30) == 0


def test_up_tolerates_a_freeze_of_the_whole_host(host: Host, long: bool) -> None:
    """If all of it stood still, nothing of it is stuck: beat only has to run again before it is judged."""
    if not long:
        pytest.skip("this belongs to the long form")
    crew = host.start(sys.executable, "-c", _QUICK_TO_SUSPECT)
    host.appears("beat.ready")
    [beat] = children_of(crew.pid)

    for pid in (crew.pid, beat):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(crew.pid, signal.SIGCONT)
    time.sleep(0.5)
    os.kill(beat, signal.SIGCONT)
    time.sleep(5)

    assert children_of(crew.pid) == [beat]
    assert "process.stuck" not in host.log
