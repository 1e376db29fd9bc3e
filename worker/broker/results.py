"""Celery's results in the ledger's Redis, over connections that follow the primary."""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend, SentinelBackend

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
            tls = "ssl_cert_reqs" in self.connparams
            self.connparams["connection_class"] = TlsConnection if tls else PlainConnection


class SentinelResults(SentinelBackend):
    """The same for Sentinel."""

    connparams: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tls = "ssl_cert_reqs" in self.connparams
        self.connparams["connection_class"] = SentinelTlsConnection if tls else SentinelConnection
