"""The processes of `reconciler up`: started, watched and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import FrameType
from typing import BinaryIO

import structlog

from worker.host.liveness import STALE_SECONDS, living
from worker.host.parent import end_with_parent

#: The delay before a dead child is restarted.
RESTART_SECONDS = 1.0
#: How often to look for children that are stuck.
LOOK_SECONDS = 5.0

log = structlog.get_logger()


def is_ignored(number: int) -> bool:
    """Whether this process was told to ignore the signal, as `nohup` does."""
    return signal.getsignal(number) is signal.SIG_IGN


class Crew:
    """Named child processes, each a command of this program."""

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
        patience: timedelta,
        output: BinaryIO | None = None,
    ) -> None:
        """`commands` has the arguments of `reconciler` for each name, a role of `healthcheck`.

        On shutdown, each child has `patience` to finish. `output` receives what they print.
        """
        self._commands = commands
        self._environment = {**os.environ, **environment}
        self._patience = patience
        self._output = output
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = False
        self._next_look = 0.0
        self._suspects: set[int] = set()

    def start(self) -> None:
        """Start every child."""
        for name in self._commands:
            self._start(name)

    def run(self) -> None:
        """Start every child, restart any that dies or is stuck, and stop all when a signal asks for it."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            if number != signal.SIGHUP or not is_ignored(number):
                signal.signal(number, self._end)
        try:
            self.start()
            while not self._ending:
                time.sleep(0.2)
                self._kill_stuck()
                for name, child in list(self._children.items()):
                    if child.poll() is not None and not self._ending:
                        log.error("process.died", process=name, status=child.returncode)
                        time.sleep(RESTART_SECONDS)
                        self._start(name)
                self._reap_orphans()
        finally:
            self.end()

    def end(self) -> None:
        """Ask every child to stop, and kill those that outlast `patience`."""
        running = [child for child in self._children.values() if child.poll() is None]
        for child in running:
            child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._patience.total_seconds()
        for child in running:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _kill_stuck(self) -> None:
        """Kill what `healthcheck` calls stuck at two looks in a row: after one, all of us may just have been
        frozen together, and no other loop has run again yet."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        stuck = set()
        for name, child in self._children.items():
            for each in living(name):
                if each.pid == child.pid and each.age_seconds > STALE_SECONDS:
                    stuck.add(child.pid)
                    if child.pid in self._suspects:
                        log.error("process.stuck", process=name, seconds=round(each.age_seconds))
                        child.kill()
        self._suspects = stuck

    def _reap_orphans(self) -> None:
        """As a container's first process, this one inherits children that others leave behind."""
        if sys.platform != "linux":
            return
        ours = {child.pid for child in self._children.values()}
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in ours:
                    # Its turn comes in `run`, which wants its status.
                    return
                os.waitpid(ended.si_pid, 0)

    def _start(self, name: str) -> None:
        if self._ending:
            return
        self._children[name] = subprocess.Popen(  # noqa: S603 - our own program
            # -P: nothing in the working directory is taken for a module of ours.
            [sys.executable, "-P", "-m", "worker.cli", *self._commands[name]],
            env=self._environment,
            stdout=self._output,
            stderr=self._output,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread has been started yet
        )

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending = True
