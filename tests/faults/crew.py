"""A fleet's processes, each started again when it ends or hangs, as systemd and a probe do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.processes import Child, run_command

RESTART_SECONDS = 1.0
PROBE_SECONDS = 15.0
#: One that was silent for this long hangs.
STALE_SECONDS = 45


@dataclass(slots=True)
class Crew:
    """Commands of `reconciler` by name, each with its environment."""

    home: Path
    log: Path
    commands: Mapping[str, tuple[Sequence[str], Mapping[str, str]]]
    #: How often one was started again, and how often because it hung.
    restarts: int = 0
    hung: int = 0
    _children: dict[str, Child] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)

    def start(self, name: str) -> None:
        args, env = self.commands[name]
        with self._lock:
            self._children[name] = Child(self.home, env, self.log, *args)

    def end(self, name: str) -> None:
        with self._lock:
            child = self._children.pop(name)
        _end(child)

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def signal(self, name: str, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid(name), number)

    def all_run(self) -> bool:
        with self._lock:
            return all(child.process.poll() is None for child in self._children.values())

    @contextmanager
    def on_duty(self) -> Iterator[None]:
        """Watch over them until the block ends, then end them all."""
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._ending.set()
            watch.join(30)
            with self._lock:
                children = list(self._children.values())
            for child in children:
                child.ask_to_end()
            for child in children:
                _end(child)

    def _watch(self) -> None:
        probed = time.monotonic()
        while not self._ending.wait(0.5):
            with self._lock:
                ended = [name for name, child in self._children.items() if child.process.poll() is not None]
            for name in ended:
                if self._ending.wait(RESTART_SECONDS):
                    return
                with self._lock:
                    child = self._children.get(name)
                if child is not None:
                    _kill_all_of(child)
                    self.start(name)
                    self.restarts += 1
            if time.monotonic() - probed > PROBE_SECONDS:
                self._probe()
                probed = time.monotonic()

    def _probe(self) -> None:
        """Kill each worker and beat that hangs."""
        _, env = next(iter(self.commands.values()))
        for role in ("worker", "beat"):
            with suppress(subprocess.TimeoutExpired):
                probe = run_command(self.home, env, "healthcheck", role, "--stale-after", str(STALE_SECONDS))
                stuck = {int(pid) for pid in re.findall(r"with pid (\d+) has been stuck", probe.stderr)}
                with self._lock:
                    hung = [child for child in self._children.values() if child.pid in stuck]
                for child in hung:
                    child.process.kill()
                self.hung += len(hung)


def _kill_all_of(child: Child) -> None:
    """What a dead process leaves behind in its group."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _end(child: Child) -> None:
    with suppress(subprocess.TimeoutExpired):
        child.end()
