"""Beat's scheduler: it reports that it is alive, and logs once, not at each tick, that its broker is away."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import structlog
from celery import beat

from worker.host.liveness import report_while_connecting, reporter
from worker.outage import BROKER

log = structlog.get_logger()


class Scheduler(beat.Scheduler):
    """Celery's scheduler; it keeps no file, since an interval needs no memory."""

    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._report = reporter("beat")

    @cached_property
    def connection(self) -> Any:
        """The connection to the broker, which reports as well while it is tried again and again."""
        connection = self.app.connection_for_write()
        report_while_connecting(connection, self._report)
        return connection

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send what is due; returns the seconds until more is."""
        self._report()
        return super().tick(*args, **kwargs)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a tick. One that cannot be sent is left out: the next one does the same."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            if not BROKER.began(error.__context__ or error):
                log.exception("tick.failed")
        else:
            BROKER.over()
