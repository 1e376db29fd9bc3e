"""Deadlines that hold over a whole exchange.

An HTTP client's timeouts begin anew with every byte, so that an answer which only drips is waited for
without end. Here every read and write of a connection ends with its exchange's deadline.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpcore
import httpx


class Deadline:
    """A moment on this host's monotonic clock by which something must be over."""

    def __init__(self, length: timedelta) -> None:
        self._end = time.monotonic() + length.total_seconds()

    @property
    def left(self) -> float:
        """Seconds left, not below 0."""
        return max(0.0, self._end - time.monotonic())


class _Current(threading.local):
    """The deadline of the exchange that this thread is at."""

    deadline: Deadline | None = None


_current = _Current()


@contextmanager
def bounded_by(deadline: Deadline) -> Iterator[None]:
    """Within this block, no network call of this thread goes on past the deadline."""
    _current.deadline = deadline
    try:
        yield
    finally:
        _current.deadline = None


def _bounded(timeout: float | None) -> float | None:
    if _current.deadline is None:
        return timeout
    left = _current.deadline.left
    if left <= 0:
        raise httpcore.ReadTimeout("the deadline passed")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes end with the deadline."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _bounded(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _bounded(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _bounded(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Makes such connections."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._inner.connect_tcp(host, port, _bounded(timeout), local_address, socket_options)
        return _Stream(inner)


class BoundedTransport(httpx.HTTPTransport):
    """httpx's transport over such connections."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        # httpx has no argument for it; its version is pinned for this line.
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=_Backend(),
        )
