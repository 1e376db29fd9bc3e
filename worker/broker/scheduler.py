"""Beat's scheduler: reports liveness, and logs a broker outage once instead of at each tick."""

from __future__ import annotations

from functools import cached_property
from time import monotonic
from typing import Any

import structlog
from celery import beat
from celery.schedules import schedstate

from worker.broker.outages import BROKER
from worker.host.liveness import report_while_connecting, reporter

#: How often beat looks what is wrong with the fleet.
WATCH_SECONDS = 10.0

log = structlog.get_logger()


class Scheduler(beat.Scheduler):
    """Celery's scheduler, by the monotonic clock, and without a file, since an interval needs no memory.

    By the host's clock, beat would stand still after that was set back, until it has caught up.
    """

    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._report = reporter("beat")
        self._last = self._watched = monotonic()

    @cached_property
    def connection(self) -> Any:
        """The connection to the broker, which reports liveness while it retries."""
        connection = self.app.connection_for_write()
        report_while_connecting(connection, self._report)
        return connection

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send what is due; return the seconds until the next tick."""
        self._report()
        if self.app.watch and monotonic() - self._watched >= WATCH_SECONDS:
            self._watched = monotonic()
            self.app.watch()
        return super().tick(*args, **kwargs)

    def is_due(self, entry: Any) -> schedstate:
        """Whether to send the tick now, and how many seconds until the next."""
        every = entry.schedule.run_every.total_seconds()
        left = self._last + every - monotonic()
        if left > 0:
            return schedstate(is_due=False, next=left)
        self._last = monotonic()
        return schedstate(is_due=True, next=every)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a tick, or skip it: the next one does the same."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            if not BROKER.began(error.__context__ or error):
                log.exception("tick.failed")
        else:
            BROKER.over()
