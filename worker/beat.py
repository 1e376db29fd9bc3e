"""Beat's scheduler, which says once that its broker cannot be used, and not at every tick."""

from __future__ import annotations

from typing import Any

import structlog
from celery import beat

from worker.outage import BROKER

log = structlog.get_logger()


class Scheduler(beat.Scheduler):
    """Celery's scheduler; it keeps no file, since an interval needs no memory."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a tick. One that cannot be sent is left out: the next one does the same."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            if not BROKER.began(error.__context__ or error):
                log.exception("tick.failed")
        else:
            BROKER.over()
