"""Connections that ask for nothing do not stay, and make room for others.

uvicorn waits without end for a request's head and for a client that does not take its answer. Here both have
a deadline. Where there are too many connections all the same, those that are worth least go, of each kind the
oldest; none while it is being answered.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from heapq import nsmallest
from operator import itemgetter

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

#: The time for the first byte and all of the head: from the connection on, or from the first byte of a
#: request that is not the connection's first.
HEAD_SECONDS = 5.0
#: The time for a client to take what it is sent, once the system's buffers are full.
TAKE_SECONDS = 5.0
#: With half a head in each, they take some 70 MiB.
MOST_CONNECTIONS = 2048
#: How many go at once, since the search for them looks at all.
AT_ONCE = 64
#: Nobody goes earlier: what has been sent may not have been read yet.
STAY_SECONDS = 1.0
#: How often the log says that there are too many.
SAY_EVERY = 60.0

log = structlog.get_logger()


class Worth(IntEnum):
    """What a connection is doing, the least worth first."""

    SILENT = 0
    IN_HEAD = 1
    IN_BODY = 2
    IDLE = 3
    BUSY = 4


class _Deadline:
    """Ends a connection unless it is called off in time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return self._timer is not None

    def start(self, transport: asyncio.Transport) -> None:
        """Begin, unless it has begun before."""
        if self._timer is None:
            # Not closed in good order, for which the client would have to take what it was sent.
            self._timer = asyncio.get_running_loop().call_later(self._seconds, transport.abort)

    def call_off(self) -> None:
        """End it, if it has begun."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Connection(H11Protocol):
    """One connection."""

    #: When the log last said that there are too many, on the loop's clock.
    _said = float("-inf")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        #: When it came, spoke first, or spoke after it was idle: on the loop's clock.
        self.since = self.loop.time()
        self._is_silent = True
        self._head, self._take = _Deadline(HEAD_SECONDS), _Deadline(TAKE_SECONDS)
        self._head.start(self.transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.call_off()
        self._take.call_off()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.worth() in (Worth.SILENT, Worth.IDLE):
            self.since = self.loop.time()
        self._is_silent = False
        super().data_received(data)
        if self._is_in_request():
            self._head.call_off()
        else:
            self._head.start(self.transport)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._take.start(self.transport)

    def resume_writing(self) -> None:
        self._take.call_off()
        super().resume_writing()

    def worth(self) -> Worth:
        """What it is doing."""
        if self._is_in_request():
            return Worth.IN_BODY if self.cycle.more_body else Worth.BUSY
        if self._is_silent:
            return Worth.SILENT
        return Worth.IN_HEAD if self._head else Worth.IDLE

    def _is_in_request(self) -> bool:
        """Whether a request's head is here, and its answer not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> None:
        now = self.loop.time()
        others = [
            (each.worth(), each.since, each)
            for each in self.connections
            if isinstance(each, Connection) and each is not self and now - each.since >= STAY_SECONDS
        ]
        going = nsmallest(AT_ONCE, (each for each in others if each[0] is not Worth.BUSY), itemgetter(0, 1))
        for *_, each in going:
            each.transport.abort()
            # Already now: the next one comes before this one's end is noticed.
            self.connections.discard(each)
        if going and now - Connection._said > SAY_EVERY:
            Connection._said = now
            log.warning("serve.crowded", connections=MOST_CONNECTIONS, ended=going[0][0].name.lower())
