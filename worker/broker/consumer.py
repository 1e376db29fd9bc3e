"""A worker's consumer: drops unreadable messages and reports liveness.

Anything may be pushed onto a Redis broker's lists. Some of it ends a worker with Celery's own consumer, which
also logs whole bodies, tokens included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import inf
from time import sleep
from typing import Any

import structlog
from celery.exceptions import InvalidTaskError
from celery.platforms import EX_FAILURE
from celery.worker import consumer, state
from celery.worker.control import inspect_command
from celery.worker.state import maybe_shutdown
from kombu.exceptions import ContentDisallowed, DecodeError
from redis.exceptions import RedisError

from worker.broker.outages import BROKER
from worker.broker.redis_transport import PROBE_SECONDS, Transport
from worker.broker.served import COMMAND, owner
from worker.host.liveness import EVERY_SECONDS, report_while_connecting, reporter
from worker.ledger.connection import connect_once
from worker.ledger.distance import measure
from worker.ledger.figures import announce
from worker.ledger.keys import Keys
from worker.ledger.layout import NewerLedger, identity_of, settle
from worker.ledger.leases import LONGEST_WAKE

#: How often a worker reports to the ledger.
ANNOUNCE_SECONDS = 10.0
#: The longest that the loop waits for the ledger.
ANNOUNCE_PATIENCE = timedelta(seconds=1)

#: The header of a message whose countdown or ETA was taken off.
HAD_ETA = "reconciler_had_eta"

log = structlog.get_logger()


@inspect_command(name=COMMAND)
def whose(state: Any) -> dict[str, Any]:
    """Remote control: whose worker this is."""
    return owner(state.app.settings, state.consumer.ledger_id)


class Strategies(dict[Any, Any]):
    """Message handlers by task name; a name that is not text counts as unknown."""

    def __getitem__(self, name: Any) -> Any:
        # A list is unhashable: the lookup would fail, and the unacknowledged message come back forever.
        if not isinstance(name, str):
            raise KeyError(type(name).__name__)
        return super().__getitem__(name)


class Consumer(consumer.Consumer):
    """Celery's consumer, except that a bad message harms nothing but itself.

    Its loop reports liveness, even while it waits for the broker, and announces the worker to the ledger.
    """

    app: Any
    hostname: str
    timer: Any
    Strategies = Strategies
    strategies: dict[str, Any]
    connection_errors: tuple[type[Exception], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._report = reporter("worker")
        self._entries: list[Any] = []
        #: Which ledger this worker uses; None until it has reached it.
        self.ledger_id: str | None = None

    def connect(self) -> Any:
        """Connect, and wait until the server accepts writes, reporting meanwhile."""
        connection = super().connect()
        transport = connection.transport
        while isinstance(transport, Transport) and not transport.takes_writes(connection.default_channel):
            self._report()
            maybe_shutdown()
            sleep(PROBE_SECONDS)
        # For whoever asks workers over the broker: Celery removes the one password, but not those in here.
        shown = {**connection.info(), "alternates": [], "transport_options": {}}
        connection.info = lambda: dict(shown)  # type: ignore[method-assign]
        return connection

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Name the server that is gone in our own words, once, beside Celery's traceback."""
        BROKER.began(exc)
        super().on_connection_error_after_connected(exc)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes, reporting meanwhile."""
        report_while_connecting(conn, self._report)
        return super().ensure_connected(conn)

    def on_ready(self) -> None:
        """Start the timers: the loop is new, or lost them with its connection."""
        super().on_ready()
        for entry in self._entries:
            entry.cancel()
        self._announce()
        self._entries = [
            self.timer.call_repeatedly(EVERY_SECONDS, self._report),
            self.timer.call_repeatedly(ANNOUNCE_SECONDS, self._announce),
        ]

    def update_strategies(self) -> None:
        """Wrap each task's handler, so that no malformed message gets past it.

        Celery's own tasks, such as ``celery.map``, have none: nobody sends them, so they count as unknown.
        """
        super().update_strategies()
        for name, strategy in list(self.strategies.items()):
            if name.startswith("celery."):
                del self.strategies[name]
                continue
            at_once = getattr(self.app.tasks[name], "runs_at_once", False)
            self.strategies[name] = _tolerant(strategy, _take_off_eta if at_once else _bound_eta)

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Drop a message of an unknown protocol."""
        self._drop(message, "unknown_protocol")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Drop a message for a task that does not exist."""
        self._drop(message, "unknown_task")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Drop a message for a task of ours that violates the protocol or is not JSON."""
        self._drop(message, "content_type" if isinstance(exc, ContentDisallowed) else "malformed")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Drop a message whose body does not match its content type."""
        self._drop(message, "content_type" if isinstance(exc, ContentDisallowed) else "undecodable")

    def _drop(self, message: Any, reason: str) -> None:
        headers = message.headers if isinstance(message.headers, dict) else {}
        task = headers.get("task")
        log.error("message.dropped", reason=reason, task=task[:100] if isinstance(task, str) else None)
        message.reject_log_error(log, self.connection_errors)

    @cached_property
    def _redis(self) -> Any:
        return connect_once(self.app.settings.ledger_url, ANNOUNCE_PATIENCE)

    def _announce(self) -> None:
        queues, keys = self.app.amqp.queues.consume_from, Keys(self.app.settings.key_prefix)
        # An outage of Redis is reported elsewhere, and the next try is soon.
        with suppress(RedisError):
            try:
                settle(self._redis, keys)
            except NewerLedger as newer:
                # It was away when this worker started, or a newer version has just been at it.
                log.error("ledger.newer", reason=str(newer))
                state.should_stop = EX_FAILURE  # type: ignore[assignment]
            else:
                announce(self._redis, keys, self.hostname, queues, measure(self._redis))
                self.ledger_id = identity_of(self._redis, keys)
        if self.app.watch:
            self.app.watch()


def _tolerant(strategy: Callable[..., Any], settle_eta: Callable[[Any, Any], None]) -> Callable[..., Any]:
    def take(message: Any, payload: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if payload is None:
                _check_body(message.payload)
                _check_headers(message.headers)
            settle_eta(message, payload)
            return strategy(message, payload, *args, **kwargs)
        except (InvalidTaskError, ContentDisallowed, DecodeError):
            raise
        except Exception as error:
            raise InvalidTaskError(type(error).__name__) from None

    return take


def _take_off_eta(message: Any, payload: Any) -> None:
    """Hand a message over at once even if it has a countdown or ETA, and tell the task.

    Waiting for it, a worker would hold the message unacknowledged beyond the visibility timeout, and other
    workers would each get it again.
    """
    # Protocol 1 has it in the body.
    for place in (message.headers, payload, message.payload):
        if isinstance(place, dict) and place.get("eta") is not None:
            place["eta"] = None
            message.headers[HAD_ETA] = True


def _bound_eta(message: Any, _: Any) -> None:
    """Bound how long a message of our own waits here: its ETA is by the clock of another host."""
    eta = message.headers.get("eta")
    if isinstance(eta, str):
        latest = datetime.now(UTC) + LONGEST_WAKE
        message.headers["eta"] = min(datetime.fromisoformat(eta), latest).isoformat()


def _check_body(content: Any) -> None:
    if not (
        isinstance(content, (list, tuple))
        and len(content) == 3
        and isinstance(content[0], (list, tuple))
        and all(isinstance(part, dict) for part in content[1:])
    ):
        raise InvalidTaskError("the body is not [args, kwargs, embed]")


def _check_headers(headers: Mapping[str, Any]) -> None:
    """Refuse headers that Celery does not check, but fails on outside the task: in the pool, which ends the
    worker and passes the message to the next one, or when storing the result."""
    task_id = headers.get("id")
    if not isinstance(task_id, str) or not task_id:
        raise InvalidTaskError("the id is not text")
    task_id.encode()  # a lone surrogate raises
    limits = headers.get("timelimit")
    if limits and not (isinstance(limits, list) and len(limits) == 2 and all(map(_is_limit, limits))):
        raise InvalidTaskError("the time limits are not two numbers of seconds")


def _is_limit(limit: Any) -> bool:
    return limit is None or (isinstance(limit, (int, float)) and 0 < limit < inf)
