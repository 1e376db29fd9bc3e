"""Temporary outages of a server: it is away, or it answers but refuses writes.

Neither is the fault of the work at hand, which is retried later and never given up.
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
_READ_ONLY: Final = "it is a read-only replica: name the primary in the URL"
_FULL: Final = "it is out of memory: raise maxmemory, or free some"
_FORBIDDEN: Final = "its ACL does not let this user in, or lacks rights that we need: see docs/security.md"

#: The first match decides. Other errors of the server mostly have no class of their own.
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ReadOnlyError, _READ_ONLY),
    (OutOfMemoryError, _FULL),
    (NoPermissionError, _FORBIDDEN),
    (AuthenticationError, _FORBIDDEN),
    (RedisConnectionError, _AWAY),
    (RedisTimeoutError, _AWAY),
)
#: Redis's error codes, for errors without a class of their own.
_CODES: Final = {
    "NOREPLICAS": "it has too few replicas for min-replicas-to-write",
    "MISCONF": "it cannot write to its disk",
    "MASTERDOWN": "it is a replica that lost its primary",
    "UNBLOCKED": "its role has changed",
}
#: The errors of a server that is not the primary any more.
_MOVED: Final = frozenset({_READ_ONLY, _CODES["MASTERDOWN"], _CODES["UNBLOCKED"]})
# Anywhere in the text: in a pipeline, the client puts the command in front.
_CODE: Final = re.compile(rf"\b({'|'.join(_CODES)})\b")

log = structlog.get_logger()


def why(error: BaseException) -> str | None:
    """Why the server is unavailable, if the error means that; never the error's own text."""
    if isinstance(error, OperationalError):
        # Kombu's wrapper around the broker client's error.
        return (error.__cause__ and why(error.__cause__)) or _AWAY
    for kind, reason in _KINDS:
        if isinstance(error, kind):
            return reason
    code = _CODE.search(str(error)) if isinstance(error, ResponseError) else None
    return _CODES[code[1]] if code else None


def says_it_moved(error: BaseException) -> bool:
    """Whether the server says that it is not the primary, or no longer."""
    return why(error) in _MOVED


class BrokerAway(Exception):
    """The broker is unavailable; the message says why, without its URL."""


class Outage:
    """This process's view of one server's outage; logs its beginning and end, once each."""

    def __init__(self, server: str) -> None:
        """`server` is its name in the log."""
        self._server = server
        #: Why the server is unavailable; None while it is not.
        self.reason: str | None = None

    def began(self, error: BaseException) -> bool:
        """Whether the error means that the server is unavailable; if so, note it."""
        reason = why(error)
        if reason is None:
            return False
        if self.reason is None:
            log.warning("redis.unavailable", server=self._server, reason=reason)
        self.reason = reason
        return True

    def over(self) -> None:
        """Note that the server works."""
        if self.reason is not None:
            self.reason = None
            log.info("redis.available", server=self._server)


#: These may be one server.
LEDGER: Final = Outage("ledger")
BROKER: Final = Outage("broker")
