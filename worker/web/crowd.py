"""Who is let in: requests that are all here, and only a few at a time.

A request whose body is still on its way costs no more than its connection: it takes no place from others.
"""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.intake.payloads import LARGEST_PAYLOAD
from worker.web.probes import HEALTH

#: More requests at a time get an immediate 503: Cronofy sends a notification again, and an answer after more
#: than a second is useless.
MOST_AT_A_TIME = 256
#: The time for a body, from the end of the head.
BODY_SECONDS = 5.0
#: How many bodies may be on their way, as each holds memory. One more, and the oldest is given up.
MOST_BODIES = 512
#: Cronofy is not known to honour it, but a proxy or a person may.
RETRY_AFTER = {"Retry-After": "5"}


class Crowd:
    """Lets requests in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inside = 0
        #: The time of each body that is on its way, the oldest first.
        self._bodies: dict[asyncio.Timeout, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Whoever asks whether we live is never turned away, and has no body that we read.
        if scope["type"] != "http" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS) as limit:
                body = await self._whole_body(Request(scope, receive), limit)
        except ClientDisconnect:
            return
        except TimeoutError:
            await _refuse(408, "The body did not arrive in time.")(scope, receive, send)
            return
        if body is None:
            await _refuse(413, f"The body may have at most {LARGEST_PAYLOAD} bytes.")(scope, receive, send)
            return
        if self._inside >= MOST_AT_A_TIME:
            answer = _refuse(503, "Too many requests are open. Try again later.", RETRY_AFTER)
            await answer(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._app(scope, _given(body, receive), send)
        finally:
            self._inside -= 1

    async def _whole_body(self, request: Request, limit: asyncio.Timeout) -> bytes | None:
        """The body, None if it is too large; too many at a time end the `limit` of the oldest."""
        self._bodies[limit] = None
        if len(self._bodies) > MOST_BODIES:
            oldest = next(iter(self._bodies))
            del self._bodies[oldest]
            # One whose time is over cannot be given up again.
            if not oldest.expired():
                oldest.reschedule(0)
        try:
            return await _body(request)
        finally:
            self._bodies.pop(limit, None)


async def _body(request: Request) -> bytes | None:
    """The raw body, never holding more than the limit in memory; None if it has more, which no task takes."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > LARGEST_PAYLOAD:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_PAYLOAD:
            return None
    return bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body in one piece, then whatever comes."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return whole.pop() if whole else await receive()

    return given


def _refuse(status: int, text: str, headers: dict[str, str] | None = None) -> PlainTextResponse:
    # What is left of the body is not read, so the connection is of no more use.
    return PlainTextResponse(text + "\n", status, {"Connection": "close", **(headers or {})})
