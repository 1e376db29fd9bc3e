"""Celery's results in the ledger's Redis, over connections that follow the primary."""

from __future__ import annotations

from typing import Any

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


class Results(RedisBackend):
    """Celery's backend for one server, or a socket."""

    connparams: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "path" not in self.connparams:
            self.connparams |= _following(self.connparams, PlainConnection, TlsConnection)


class SentinelResults(SentinelBackend):
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
