"""Celery's results in the ledger's Redis, over connections that follow the primary.

Celery reads what is stored of a task before it writes, lest a lost task's failure replace its success. A
success replaces nothing better, so it is written at once, which saves each answer a round trip.
"""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.redis import RedisBackend, SentinelBackend
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError, ReadOnlyError
from redis.retry import Retry

from worker.ledger.connection import (
    PlainConnection,
    SentinelConnection,
    SentinelTlsConnection,
    TlsConnection,
)


class _AtOnce(RedisBackend):
    """Writes a success without reading."""

    app: Any

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """As Celery does, what `mark_as_done` hands over; returns the result, encoded."""
        if state != states.SUCCESS:
            return super().store_result(task_id, result, state, traceback, request, **kwargs)
        encoded = self.encode_result(result, state)
        meta = {
            "status": state,
            "result": encoded,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": self.app.now().isoformat(),
            "task_id": task_id,
        }
        # A caller's chord or chain.
        for name, given in (("group_id", "group"), ("parent_id", "parent_id")):
            if value := getattr(request, given, None):
                meta[name] = value
        self.set(self.get_key_for_task(task_id), self.encode(meta))
        return encoded


class Results(_AtOnce):
    """Celery's backend for one server, or a socket."""

    connparams: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "path" not in self.connparams:
            self.connparams |= _following(self.connparams, PlainConnection, TlsConnection)


class SentinelResults(_AtOnce, SentinelBackend):
    """The same for Sentinel."""

    connparams: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connparams |= _following(self.connparams, SentinelConnection, SentinelTlsConnection)


def _following(options: dict[str, Any], plain: type[Any], tls: type[Any]) -> dict[str, Any]:
    return {
        "connection_class": tls if "ssl_cert_reqs" in options else plain,
        # Otherwise a task that was done would be reported as failed, after a primary has moved.
        "retry": Retry(NoBackoff(), 1),
        "retry_on_error": [ReadOnlyError, MasterDownError],
    }
