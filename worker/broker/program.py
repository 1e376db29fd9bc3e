"""Celery's worker as a program: what signals do to it, how long its end may take, and its exit code."""

from __future__ import annotations

import faulthandler
import signal
import sys
from threading import RLock
from typing import Any, Final

import structlog
from billiard import pool
from celery.apps import worker
from celery.platforms import EX_FAILURE, EX_OK
from celery.signals import worker_shutting_down

from worker.host.supervisor import is_ignored

#: How long the end of a worker may take beyond the time limit of a task.
LAST_SECONDS: Final = 5.0

#: After a lost connection, a process of the pool may wait at its end for word that its results arrived,
#: which never comes: by default for half a minute.
pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 10

# Celery's signal handlers take this lock. A second SIGTERM within the first one's handler, as from `up` and
# its supervisor at once, would wait for it forever: it runs on top of the one that holds it.
worker_shutting_down.lock = RLock()  # type: ignore[attr-defined]

log = structlog.get_logger()


class Worker(worker.Worker):
    """Celery's worker, except that it always ends when asked to, and says by its exit code if it was not."""

    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ending = self._asked = False
        super().__init__(*args, **kwargs)

    def start(self) -> None:
        """Run until the end; exits with 0 if it was asked for, otherwise with 1."""
        # Celery's signal handlers print there first, and do nothing else if the terminal is gone.
        sys.__stdout__ = None  # type: ignore[misc]
        worker_shutting_down.connect(self._ask, weak=False)
        super().start()
        # Celery's own code is 1 after Ctrl-C, too, and 0 if remote control asked.
        sys.exit(EX_OK if self._asked or self.exitcode == EX_OK else EX_FAILURE)

    def install_platform_tweaks(self, worker: Any) -> None:
        """Handle signals as Celery does, but SIGHUP as SIGTERM: a worker does not start itself again."""
        ignored = is_ignored(signal.SIGHUP)
        super().install_platform_tweaks(worker)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.getsignal(signal.SIGTERM))

    def stop(self, *args: Any, **kwargs: Any) -> None:
        """End once the tasks at hand are done."""
        self._limit()
        super().stop(*args, **kwargs)

    def terminate(self, *args: Any, **kwargs: Any) -> None:
        """End at once."""
        self._limit()
        super().terminate(*args, **kwargs)

    def _ask(self, sig: str, how: str, **_: Any) -> None:
        self._asked = True
        self._limit()
        log.info("worker.ending", signal=sig, how=how.lower())

    def _limit(self) -> None:
        """Bound the time that the end takes from now on, even if the loop or a process of the pool hangs.

        After it, this process prints where it hangs, and exits with 1; Linux ends its pool with it.
        """
        if not self._ending:
            self._ending = True
            limit = self.app.settings.task_time_limit.total_seconds()
            faulthandler.dump_traceback_later(limit + LAST_SECONDS, exit=True)
