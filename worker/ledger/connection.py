"""Redis clients for one URL, whether it names a server, a socket or sentinels.

A server may stop being the primary while connections to it live on: Sentinel moved the primary, or whoever
manages a server behind one name did. So a connection whose server says so is closed before its next command:
the next one goes where the URL leads then.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from redis import ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelManagedConnection

from config.redis_url import RedisUrl, parse
from worker.outage import says_it_moved

#: How long to keep a person waiting for each step when Redis does not answer.
A_PERSONS_PATIENCE = timedelta(seconds=5)


class Following(AbstractConnection):
    """A connection that leaves a server which is no longer the primary."""

    _moved = False

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """The answer to a command."""
        try:
            # Not SentinelManagedConnection's, which hides the reason, and breaks off in mid-pipeline.
            return AbstractConnection.read_response(self, *args, **kwargs)
        except ResponseError as error:
            self._moved = self._moved or says_it_moved(error)
            raise

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        """Send a command, over a new connection if the primary has moved."""
        if self._moved:
            self.disconnect()
        # By default, Sentinel's connections would reopen to the same server, without asking.
        self.connect()  # type: ignore[no-untyped-call]
        super().send_packed_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close the connection; the next one may lead to another server."""
        self._moved = False
        super().disconnect(*args, **kwargs)  # type: ignore[no-untyped-call]


class PlainConnection(Following, Connection):
    """To a server by its name."""


class TlsConnection(Following, SSLConnection):
    """The same over TLS."""


class SentinelConnection(Following, SentinelManagedConnection):
    """To the primary that sentinels name, whom each new connection asks."""

    def connect(self) -> None:
        """Connect to the primary."""
        try:
            super().connect()  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            # Not with redis-py's text, a page on each sentinel's connections.
            raise MasterNotFoundError("no sentinel names a primary") from None


class SentinelTlsConnection(SentinelConnection, SSLConnection):
    """The same over TLS."""


def connect(
    url: str, connect_seconds: float, answer_seconds: float, retry: Retry, check_seconds: int = 15
) -> Redis:
    """A client with these bounds and retries, which checks an idle connection. It does not connect yet."""
    redis = parse(url)
    options: dict[str, Any] = {
        **redis.entry,
        "connection_class": connection_class(redis),
        "socket_connect_timeout": connect_seconds,
        "socket_timeout": answer_seconds,
        "health_check_interval": check_seconds,
        "retry": retry,
    }
    if not redis.socket:
        options["socket_keepalive"] = True
    if not redis.service:
        return Redis.from_pool(ConnectionPool(**redis.place, **options))
    sentinels: Any = Sentinel(redis.addresses, sentinel_kwargs=redis.sentinel_entry)  # type: ignore[no-untyped-call]
    client: Redis = sentinels.master_for(redis.service, **options)
    return client


def server_time(redis: Redis) -> datetime:
    """What the server's clock says."""
    seconds, micros = redis.time()
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)


def connection_class(redis: RedisUrl) -> type[AbstractConnection]:
    """The kind of connection that such a URL needs."""
    if redis.socket:
        return UnixDomainSocketConnection
    if redis.service:
        return SentinelConnection if redis.tls is None else SentinelTlsConnection
    return PlainConnection if redis.tls is None else TlsConnection


def connect_once(url: str, patience: timedelta) -> Redis:
    """A client that tries once, and allows each step at most `patience`. It does not connect yet."""
    seconds = patience.total_seconds()
    # No PING before what is read: a server that cannot write to its disk refuses that, but answers reads.
    return connect(url, seconds, seconds, Retry(NoBackoff(), 0), check_seconds=0)
