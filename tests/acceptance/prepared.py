"""Commands in processes that have imported everything before they begin, which is most of what one costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from worker.cli import COMMANDS, main

#: Each process is forked from one that this process starts, which runs nothing and has no threads.
_FORKED = get_context("forkserver")
_MODULES = {f"worker.commands.{module}" for module, _ in COMMANDS.values()}
_FORKED.set_forkserver_preload([__name__, "worker.app", "worker.web.app", *sorted(_MODULES)])


def _read_at_the_start(env: Mapping[str, str]) -> dict[str, str]:
    """Variables that Python or a library may read once, so that a forked process would come too late."""
    later = ("RECONCILER_", "PYTEST_", "PYTHONDONTWRITEBYTECODE", "SSL_CERT_", "COLUMNS")
    return {
        name: value
        for name, value in env.items()
        if not name.startswith(later) and not name.lower().endswith("_proxy")
    }


_START = _read_at_the_start(os.environ)


def fits(env: Mapping[str, str]) -> bool:
    """Whether a process with this environment may be a forked one."""
    return _read_at_the_start(env) == _START


class Prepared:
    """A forked process that runs a command, and does what `subprocess.Popen` does."""

    def __init__(
        self, home: Path, env: Mapping[str, str], args: Sequence[str], streams: Mapping[int, int]
    ) -> None:
        """Start it in a session of its own; `streams` are our descriptors, each by its number there."""
        passed = {
            number: Connection(os.dup(descriptor), writable=False) for number, descriptor in streams.items()
        }
        self._process = _FORKED.Process(target=_begin, args=(home, dict(env), args, passed))
        self._process.start()
        for stream in passed.values():
            stream.close()
        assert self._process.pid
        self.pid = self._process.pid
        self.args = args

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(["reconciler", *self.args], timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _begin(home: Path, env: dict[str, str], args: Sequence[str], streams: dict[int, Connection]) -> None:
    """In the forked process: become what the command line would have started."""
    os.setsid()
    for number, stream in streams.items():
        os.dup2(stream.fileno(), number)
        stream.close()
    # Those of before know whether what they led to was a file.
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(home)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = ["reconciler", *args]
    main()
