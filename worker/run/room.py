"""A room that many may be in together, or one alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Condition


class Room:
    """Shared between the threads of a batch; whoever waits to be alone goes before those that come after."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be inside together with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def alone(self, wait: timedelta) -> Iterator[bool]:
        """Be inside alone; false, and not inside, where others did not leave within `wait`."""
        with self._changed:
            granted = self._changed.wait_for(lambda: not self._alone, wait.total_seconds())
            if granted:
                self._alone = True
                granted = self._changed.wait_for(lambda: self._inside == 0, wait.total_seconds())
                self._alone = granted
                self._inside += granted
                self._changed.notify_all()
        try:
            yield granted
        finally:
            if granted:
                self._leave(alone=True)

    def _leave(self, *, alone: bool = False) -> None:
        with self._changed:
            self._inside -= 1
            self._alone = self._alone and not alone
            self._changed.notify_all()
