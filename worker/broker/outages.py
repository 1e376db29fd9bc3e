"""What a process knows of its servers' outages, whether the ledger's client or Kombu met them."""

from __future__ import annotations

from typing import Final

import structlog
from kombu.exceptions import OperationalError

from worker.ledger.connection import AWAY, kind_of, refusal
from worker.trouble import WORDS

log = structlog.get_logger()


def why(error: BaseException) -> str | None:
    """Why the server is unavailable, if the error means that; never the error's own text."""
    if isinstance(error, OperationalError):
        # Kombu's wrapper around the broker client's error.
        return (error.__cause__ and why(error.__cause__)) or AWAY
    return refusal(error)


class ServerOutage:
    """This process's view of one server's outage; logs each reason for it once, and its end."""

    def __init__(self, server: str) -> None:
        """`server` is its name in the log."""
        self._server = server
        #: Why the server is unavailable; None while it is not.
        self.reason: str | None = None
        #: What the log was told of this outage: a server that comes back may take no writes yet.
        self._told: set[str] = set()

    def began(self, error: BaseException) -> bool:
        """Whether the error means that the server is unavailable; if so, note it."""
        reason = why(error)
        if reason is None:
            return False
        if reason not in self._told:
            kind = kind_of(reason)
            says = {"says": WORDS[kind].sentence} if kind else {}
            log.warning("redis.unavailable", server=self._server, reason=reason, **says)
        self._told.add(reason)
        self.reason = reason
        return True

    def over(self) -> None:
        """Note that the server works."""
        if self.reason is not None:
            self.reason = None
            self._told.clear()
            log.info("redis.available", server=self._server)


#: These may be one server.
LEDGER: Final = ServerOutage("ledger")
BROKER: Final = ServerOutage("broker")
