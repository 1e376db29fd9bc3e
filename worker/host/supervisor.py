"""The processes of `reconciler up`: started, watched and stopped together."""

from __future__ import annotations

import ctypes
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

#: The delay before a dead child is restarted.
RESTART_SECONDS = 1.0

_PR_SET_PDEATHSIG = 1

log = structlog.get_logger()


def end_with_parent() -> None:
    """In a child, before exec: ask Linux to terminate it when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Crew:
    """Named child processes, each a command of this program."""

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
        patience: timedelta,
        output: BinaryIO | None = None,
    ) -> None:
        """`commands` has the arguments of `reconciler` for each name.

        On shutdown, each child has `patience` to finish. `output` receives what they print.
        """
        self._commands = commands
        self._environment = {**os.environ, **environment}
        self._patience = patience
        self._output = output
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = False

    def start(self) -> None:
        """Start every child."""
        for name in self._commands:
            self._start(name)

    def run(self) -> None:
        """Start every child, restart any that dies, and stop all on SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            self.start()
            while not self._ending:
                time.sleep(0.2)
                for name, child in list(self._children.items()):
                    if child.poll() is not None and not self._ending:
                        log.error("process.died", process=name, status=child.returncode)
                        time.sleep(RESTART_SECONDS)
                        self._start(name)
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

    def _start(self, name: str) -> None:
        if not self._ending:
            # -P: nothing in the working directory is taken for a module of ours.
            command = [sys.executable, "-P", "-m", "worker.cli", *self._commands[name]]
            self._children[name] = subprocess.Popen(  # noqa: S603 - our own program
                command,
                env=self._environment,
                stdout=self._output,
                stderr=self._output,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread has been started yet
            )

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending = True
