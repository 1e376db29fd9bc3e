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
    """Writes a success without reading; Celery makes a backend for each thread."""

    _blind = False

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        """As Celery does; returns the result, encoded."""
        self._blind = state == states.SUCCESS
        try:
            return super().store_result(task_id, result, state, *args, **kwargs)
        finally:
            self._blind = False

    def get(self, key: Any) -> Any:
        """What is stored, or nothing while a success is about to be."""
        return None if self._blind else super().get(key)


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
