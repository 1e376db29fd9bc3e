"""How the loops of a worker and of beat show that they go round: on this host, and to the ledger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache, cached_property
from typing import Any

import structlog
from redis.exceptions import RedisError

from worker.app import current_settings
from worker.beat import Scheduler
from worker.broker import TolerantConsumer
from worker.ledger.connection import connect_once
from worker.ledger.presence import announce
from worker.pulse import EVERY_SECONDS, Pulse

#: How often a worker tells the ledger that it is there.
ANNOUNCE_SECONDS = 10.0
#: The loop waits for the ledger no longer than this.
ANNOUNCE_PATIENCE = timedelta(seconds=1)

log = structlog.get_logger()


class LiveConsumer(TolerantConsumer):
    """The consumer of a worker's messages; its loop beats, and so does its waiting for the broker."""

    app: Any
    hostname: str
    timer: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._beat = beater("worker")
        self._entries: list[Any] = []

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long that takes."""
        _beat_while_connecting(conn, self._beat)
        return super().ensure_connected(conn)

    def on_ready(self) -> None:
        """The loop begins, at first or after the connection was lost; then its timers are gone."""
        super().on_ready()
        for entry in self._entries:
            entry.cancel()
        self._announce()
        self._entries = [
            self.timer.call_repeatedly(EVERY_SECONDS, self._beat),
            self.timer.call_repeatedly(ANNOUNCE_SECONDS, self._announce),
        ]

    @cached_property
    def _redis(self) -> Any:
        return connect_once(current_settings().ledger_url, ANNOUNCE_PATIENCE)

    def _announce(self) -> None:
        queues = self.app.amqp.queues.consume_from
        # Where Redis is away, others notice; and it says so again soon.
        with suppress(RedisError):
            announce(self._redis, current_settings().key_prefix, self.hostname, queues)


class LiveScheduler(Scheduler):
    """Beat's scheduler; each tick beats, and so does its waiting for the broker."""

    connection: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._beat = beater("beat")

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send what is due; returns the seconds until more is."""
        self._beat()
        return super().tick(*args, **kwargs)

    def _ensure_connected(self) -> Any:
        _beat_while_connecting(self.connection, self._beat)
        return super()._ensure_connected()  # type: ignore[misc]


@cache
def beater(role: str) -> Callable[[], None]:
    """What a loop of this process calls; where no file can be kept, it says so once and does nothing."""
    try:
        return Pulse(role).beat
    except OSError as error:
        log.warning("health.unknown", reason=str(error))
        return lambda: None


def _beat_while_connecting(connection: Any, beat: Callable[[], None]) -> None:
    """Have it beat between two tries, each second."""
    connect = connection.ensure_connection

    def patiently(*args: Any, callback: Callable[[], None] | None = None, **kwargs: Any) -> Any:
        def waiting() -> None:
            beat()
            if callback is not None:
                callback()

        return connect(*args, callback=waiting, **kwargs)

    connection.ensure_connection = patiently
