"""How the loops of a worker and of beat show on this host that they go round."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import structlog

from worker.host.liveness import Pulse

log = structlog.get_logger()


@cache
def beater(role: str) -> Callable[[], None]:
    """What a loop of this process calls; where no file can be kept, it says so once and does nothing."""
    try:
        return Pulse(role).beat
    except OSError as error:
        log.warning("health.unknown", reason=str(error))
        return lambda: None


def beat_while_connecting(connection: Any, beat: Callable[[], None]) -> None:
    """Have it beat between two tries, each second."""
    connect = connection.ensure_connection

    def patiently(*args: Any, callback: Callable[[], None] | None = None, **kwargs: Any) -> Any:
        def waiting() -> None:
            beat()
            if callback is not None:
                callback()

        return connect(*args, callback=waiting, **kwargs)

    connection.ensure_connection = patiently
