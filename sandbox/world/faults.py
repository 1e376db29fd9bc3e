"""Faults that the control plane adds to the API: which requests they hit and what those get instead."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

Produce = Callable[[], Awaitable[Response]]
RetryAfter = Literal["none", "seconds", "date"]


def retry_after_header(style: RetryAfter, seconds: float) -> dict[str, str]:
    """Return the Retry-After header in that style, rounded up to whole seconds."""
    if style == "none":
        return {}
    whole = int(-(-seconds // 1))
    if style == "seconds":
        return {"Retry-After": str(whole)}
    # Plus one second: an HTTP date drops the current second's fraction.
    moment = datetime.now(UTC) + timedelta(seconds=whole + 1)
    return {"Retry-After": format_datetime(moment, usegmt=True)}


class Match(BaseModel):
    """Which requests a fault hits; a field not given matches all."""

    model_config = ConfigDict(extra="forbid")

    method: str | None = None
    path_prefix: str = "/"
    sub: str | None = None


class Fault(BaseModel):
    """One rule, of one of these kinds (fields not named have no effect):

    - `status`: `status` (503), an empty body, Retry-After of `retry_after` (seconds, or "date")
    - `html`: an HTML page with `status` (502)
    - `truncated`: the connection closes half-way through the true answer's body
    - `wrong_shape`: 200 with the JSON of `body`
    - `hang`: no answer for `seconds` (one hour), then the connection closes
    - `slow`: the true answer after `seconds`
    - `reset`: the connection is reset before any answer
    - `page_loop`: a page of events whose `next_page` is the page itself
    - `foreign_next_page`: a page of events whose `next_page` is `url`, on another origin
    - `empty_userinfo`: 200 with `{}`
    - `drip`: the head of the true answer, then one byte of its body every `seconds` (0.05)
    - `batch_entry`: the batch's `entry` (0 is the first) is not carried out but answered with `status`
    """

    model_config = ConfigDict(extra="forbid")

    match: Match = Field(default_factory=Match)
    kind: Literal[
        "status",
        "html",
        "truncated",
        "wrong_shape",
        "hang",
        "slow",
        "reset",
        "page_loop",
        "foreign_next_page",
        "empty_userinfo",
        "drip",
        "batch_entry",
    ]
    status: int | None = None
    retry_after: float | Literal["date"] | None = None
    seconds: float | None = None
    body: Any = None
    entry: int = Field(default=0, ge=0)
    url: str = "http://foreign.invalid/v1/events/pages/foreign"
    #: How many requests it hits before it is used up; None for all.
    times: int | None = None
    #: The share of matching requests that it hits, drawn from `seed`.
    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    #: How many requests it has hit.
    hits: int = 0
    _random: random.Random = PrivateAttr()

    def model_post_init(self, _context: Any, /) -> None:
        self._random = random.Random(self.seed)

    def strikes(self, method: str, path: str, sub: str | None) -> bool:
        """Tell whether this request is hit, and count it if so."""
        match = self.match
        fits = (
            (self.times is None or self.hits < self.times)
            and (match.method is None or match.method.upper() == method)
            and path.startswith(match.path_prefix)
            and (match.sub is None or match.sub == sub)
        )
        if not fits or self._random.random() >= self.probability:
            return False
        self.hits += 1
        return True

    async def respond(self, request: Request, produce: Produce) -> Response:
        """Return what the client gets; `produce` makes the true answer."""
        match self.kind:
            case "status":
                return Response(status_code=self.status or 503, headers=self._retry_after())
            case "html":
                page = "<!doctype html><title>Bad gateway</title><h1>Bad gateway</h1>"
                return HTMLResponse(page, status_code=self.status or 502, headers=self._retry_after())
            case "wrong_shape":
                return JSONResponse(self.body)
            case "empty_userinfo":
                return JSONResponse({})
            case "hang":
                return Broken(partial(_hang, 3600.0 if self.seconds is None else self.seconds))
            case "reset":
                return Broken(_reset)
            case "slow":
                await asyncio.sleep(self.seconds or 0.0)
                return await produce()
            case "truncated":
                answer = await produce()
                return Broken(partial(_truncate, answer), answer.status_code)
            case "page_loop":
                return _with_next_page(await produce(), str(request.url))
            case "foreign_next_page":
                return _with_next_page(await produce(), self.url)
            case "drip":
                answer = await produce()
                return Broken(partial(_drip, answer, self.seconds or 0.05), answer.status_code)
            case "batch_entry":
                return await self._without_entry(request.scope["call"].body, produce)

    async def _without_entry(self, batch: dict[str, Any], produce: Produce) -> Response:
        entries = batch.get("batch")
        if not isinstance(entries, list) or self.entry >= len(entries):
            return await produce()
        entries[self.entry] = None
        response = await produce()
        answer = json.loads(bytes(response.body))
        answer["batch"][self.entry] = {"status": self.status or 503}
        return JSONResponse(answer, status_code=response.status_code)

    def _retry_after(self) -> dict[str, str]:
        if self.retry_after is None:
            return {}
        if self.retry_after == "date":
            return retry_after_header("date", self.seconds or 1.0)
        return retry_after_header("seconds", self.retry_after)


def _with_next_page(answer: Response, next_page: str) -> Response:
    content = json.loads(bytes(answer.body) or b"null")
    if not isinstance(content, dict) or "pages" not in content:
        return answer
    pages = content["pages"]
    pages["next_page"] = next_page
    # The official SDK uses the page numbers, not next_page (§2).
    pages["total"] = max(pages["total"], pages["current"] + 1)
    return JSONResponse(content)


class Broken(Response):
    """An answer that breaks on its way; the status is 0 if not even its head arrives."""

    def __init__(self, act: Callable[[Receive, Send], Awaitable[None]], status: int = 0) -> None:
        super().__init__(status_code=status)
        self._act = act

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await self._act(receive, send)


async def _send_head(answer: Response, send: Send) -> None:
    """Announce the full length of the answer's body."""
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})


async def _truncate(answer: Response, _receive: Receive, send: Send) -> None:
    """Send half and return: the server closes a connection with an incomplete answer."""
    await _send_head(answer, send)
    half = bytes(answer.body)[: len(answer.body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})


async def _drip(answer: Response, every: float, receive: Receive, send: Send) -> None:
    """Send a byte at a time until the client leaves."""
    await _send_head(answer, send)
    gone = asyncio.ensure_future(receive())
    for byte in bytes(answer.body):
        await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
        await asyncio.wait({gone}, timeout=every)
        if gone.done():
            return
    gone.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _hang(seconds: float, receive: Receive, send: Send) -> None:
    """Wait until the client leaves, for `seconds` at most, then reset the connection."""
    try:
        async with asyncio.timeout(seconds):
            await _until_gone(receive)
    except TimeoutError:
        await _reset(receive, send)


async def _reset(receive: Receive, send: Send) -> None:
    # ASGI cannot break a connection: uvicorn's `send` is a method of the object that owns the transport.
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    # With linger off, closing sends a TCP reset.
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _until_gone(receive)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
