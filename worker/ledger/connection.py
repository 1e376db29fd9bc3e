"""A Redis server: clients for its URL (a server, a socket or sentinels), and why it cannot be used for now.

A server may stop being the primary while connections to it live on. So one whose server says so is closed
before its next command: the next one goes where the URL leads then.

A server that is away, or answers but refuses writes, is never the fault of the work at hand, which is retried
later and never given up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis import ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterError,
    DataError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelManagedConnection

from config.redis_url import RedisUrl, parse
from worker.trouble import WORDS, Kind

#: How long to keep a person waiting for each step when Redis does not answer.
A_PERSONS_PATIENCE = timedelta(seconds=5)


class Following(AbstractConnection):
    """A connection that leaves a server which is no longer the primary."""

    _moved = False
    #: Whether it is open, as far as we know.
    _joined = False

    def connect(self) -> None:
        super().connect()  # type: ignore[no-untyped-call]
        self._joined = True

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            # Not SentinelManagedConnection's, which hides the reason, and breaks off in mid-pipeline.
            return AbstractConnection.read_response(self, *args, **kwargs)
        except ResponseError as error:
            self._moved = self._moved or refusal(error) in _MOVED
            raise

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        """Send a command, over a new connection if the primary has moved."""
        if self._moved:
            self.disconnect()
        if not self._joined:
            # By default, Sentinel's connections would reopen to the same server, without asking.
            self.connect()
        super().send_packed_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close the connection; the next one may lead to another server."""
        self._moved = self._joined = False
        super().disconnect(*args, **kwargs)  # type: ignore[no-untyped-call]


class PlainConnection(Following, Connection):
    """To a server by its name."""


class TlsConnection(Following, SSLConnection):
    """The same over TLS."""


class SentinelConnection(Following, SentinelManagedConnection):
    """To the primary that sentinels name, whom each new connection asks."""

    def connect(self) -> None:
        try:
            super().connect()
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


def _reason(kind: Kind) -> str:
    words = WORDS[kind]
    return f"{words.sentence.removeprefix('Redis takes no writes: ')}: {words.fix}"


AWAY: Final = "it does not answer"
READ_ONLY: Final = _reason(Kind.REDIS_READ_ONLY)
FULL: Final = _reason(Kind.REDIS_FULL)
_FORBIDDEN: Final = "its ACL does not let this user in, or lacks rights that we need: see docs/security.md"
_ORPHAN: Final = "it is a replica that lost its primary"
_CLUSTER: Final = "it is a Redis Cluster, which is not supported"

#: The first match decides.
_KINDS: Final[Mapping[tuple[type[Exception], ...], str]] = {
    (ReadOnlyError,): READ_ONLY,
    (OutOfMemoryError,): FULL,
    (NoPermissionError, AuthenticationError): _FORBIDDEN,
    (MasterDownError,): _ORPHAN,
    (ClusterError, AskError, ClusterCrossSlotError): _CLUSTER,
    (RedisConnectionError, RedisTimeoutError): AWAY,
}
#: Redis's codes for errors that have no class of their own.
_CODES: Final = {
    "BUSY": "it is busy with somebody's script",
    "NOREPLICAS": _reason(Kind.REDIS_NO_REPLICAS),
    "MISCONF": _reason(Kind.REDIS_NO_DISK),
    "UNBLOCKED": "its role has changed",
}
#: The reasons of a server that is not the primary, or no longer.
_MOVED: Final = frozenset({READ_ONLY, _ORPHAN, _CODES["UNBLOCKED"]})
#: The reasons of a server that answers, and takes no writes.
_NO_WRITES: Final = {
    _reason(kind): kind
    for kind in (Kind.REDIS_READ_ONLY, Kind.REDIS_FULL, Kind.REDIS_NO_REPLICAS, Kind.REDIS_NO_DISK)
}
#: A command of ours was wrong, and would be again. Every other error is the server's refusal, whatever its
#: code, and not the fault of the work at hand.
_OUR_FAULT: Final = (DataError, NoScriptError)
_OUR_CODES: Final = frozenset({"ERR", "WRONGTYPE"})
#: A code is a word in capitals; errors of scripts have none. In a pipeline, the client puts the command in
#: front.
_CODE: Final = re.compile(r"(?:Command # .* caused error: )?([A-Z]{2,}) ", re.DOTALL)


def refusal(error: BaseException) -> str | None:
    """Why the Redis is unavailable, if its client's error means that; never the error's own text."""
    for kinds, reason in _KINDS.items():
        if isinstance(error, kinds):
            return reason
    if not isinstance(error, RedisError) or isinstance(error, _OUR_FAULT):
        return None
    if type(error) is not ResponseError:
        return f"it refuses our commands ({type(error).__name__})"
    code = _CODE.match(str(error))
    if code is None or code[1] in _OUR_CODES:
        return None
    return _CODES.get(code[1], f"it refuses our commands ({code[1]})")


def takes_no_writes(error: BaseException) -> str | None:
    """Why the server takes no writes, though it answers, if the error means that."""
    reason = refusal(error)
    return reason if reason in _NO_WRITES else None


def kind_of(reason: str | None) -> Kind | None:
    """What such a reason is called, if operators are told of it in words of its own."""
    return Kind.REDIS_AWAY if reason == AWAY else _NO_WRITES.get(reason or "")


def sentence(error: BaseException) -> str | None:
    """What a person is told of a server that is away or takes no writes; None if it is another error."""
    kind = kind_of(refusal(error))
    return f"{WORDS[kind].sentence}: {WORDS[kind].fix}." if kind else None


class BrokerAway(Exception):
    """The broker is unavailable; the message says why, without its URL."""


def why_no_writes(redis: Redis) -> str | None:
    """Why this server takes no writes, as far as reads show it; None if it does. RedisError if it is away."""
    try:
        info: dict[str, Any] = redis.info()
    except NoPermissionError:
        # Nothing but our own commands would tell.
        info = {}
    if info.get("role") == "slave":
        return READ_ONLY
    limit, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    if limit and used - int(info.get("mem_not_counted_for_evict") or 0) > limit:
        return FULL
    try:
        # A server that cannot write to its disk refuses even this.
        redis.ping()
    except ResponseError as error:
        return takes_no_writes(error)
    return None
