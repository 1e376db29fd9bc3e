"""A server that cannot be used for now: it is away, or it answers and takes no writes.

Neither is the fault of what was asked of it: that is tried again later, and never given up.
"""

from __future__ import annotations

import re
from typing import Final

import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

_AWAY: Final = "it does not answer"
_READ_ONLY: Final = "it is read-only: a replica, where the primary is needed"
_FULL: Final = "it is out of memory: raise maxmemory, or free some"
_FORBIDDEN: Final = "its ACL does not let this user in, or do what is needed: see docs/security.md"

#: The first that fits tells. What is no connection error has a class of its own only here and there.
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ReadOnlyError, _READ_ONLY),
    (OutOfMemoryError, _FULL),
    (NoPermissionError, _FORBIDDEN),
    (AuthenticationError, _FORBIDDEN),
    (RedisConnectionError, _AWAY),
    (RedisTimeoutError, _AWAY),
)
#: The codes with which Redis answers, where the class says nothing.
_CODES: Final = {
    "NOREPLICAS": "too few replicas follow it: min-replicas-to-write",
    "MISCONF": "it cannot write to its disk",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "UNBLOCKED": "its role has changed",
}
# Not only at the beginning: in a pipeline, the client puts the command before it.
_CODE: Final = re.compile(rf"\b({'|'.join(_CODES)})\b")

log = structlog.get_logger()


def why(error: BaseException) -> str | None:
    """Why the server cannot be used for now, if the error says that; its own text is not repeated."""
    if isinstance(error, OperationalError):
        # Kombu's own, around what the broker's client said.
        return (error.__cause__ and why(error.__cause__)) or _AWAY
    for kind, reason in _KINDS:
        if isinstance(error, kind):
            return reason
    code = _CODE.search(str(error)) if isinstance(error, ResponseError) else None
    return _CODES[code[1]] if code else None


class BrokerAway(Exception):
    """The broker cannot be used; the message says why, without its URL."""


class Outage:
    """What this process knows of one server's outage. Its beginning and its end are logged, once each."""

    def __init__(self, server: str) -> None:
        """`server`: what the log calls it."""
        self._server = server
        #: Why the server cannot be used, while it cannot.
        self.reason: str | None = None

    def began(self, error: BaseException) -> bool:
        """Whether the error says that the server cannot be used for now."""
        reason = why(error)
        if reason is None:
            return False
        if self.reason is None:
            log.warning("redis.unavailable", server=self._server, reason=reason)
        self.reason = reason
        return True

    def over(self) -> None:
        """The server was just used."""
        if self.reason is not None:
            self.reason = None
            log.info("redis.available", server=self._server)


#: The two servers, which may be one.
LEDGER: Final = Outage("ledger")
BROKER: Final = Outage("broker")
