"""What every API request passes before it is served: the log, the token, faults and rate limits."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.state import Sandbox
from sandbox.world.accounts import Account
from sandbox.world.faults import retry_after_header
from sandbox.world.traffic import LoggedRequest

#: The paths of Cronofy's API; pages for people and the control plane are neither logged nor limited.
API_PREFIXES = ("/v1/", "/oauth/token")


@dataclass(frozen=True, slots=True)
class Call:
    """A request as endpoints see it: the caller, and the body, JSON or form-encoded (§1)."""

    account: Account | None
    body: dict[str, Any]
    #: Whether the body could not be parsed as an object.
    malformed: bool

    def text(self, name: str) -> str:
        """Return a field of the body, empty if it is not a text."""
        value = self.body.get(name)
        return value if isinstance(value, str) else ""


def call_of(request: Request) -> Call:
    """Return what the gate found out about this request."""
    call: Call = request.scope["call"]
    return call


def _parse(raw: bytes, content_type: str) -> dict[str, Any] | None:
    if content_type.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(raw.decode("utf-8", "replace")))
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


class Gate:
    """ASGI middleware around the whole application; it acts only on the API's paths."""

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self.app = app
        self.sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(API_PREFIXES):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        # Read for every method: the Python SDK sends a body even with GET (§10).
        body = _parse(await request.body(), request.headers.get("content-type", ""))
        call = Call(self._caller(request, body or {}), body or {}, malformed=body is None)
        scope["call"] = call
        logged = LoggedRequest(
            method=request.method,
            path=request.url.path,
            query=request.url.query,
            sub=call.account.sub if call.account else None,
            cost=self._cost(request, call),
        )
        self.sandbox.traffic.log.append(logged)
        response = await self._response(request, call, logged)
        logged.status = response.status_code
        await response(scope, receive, send)

    async def _response(self, request: Request, call: Call, logged: LoggedRequest) -> Response:
        if call.account is None and logged.path.startswith("/v1/") and not self._is_api_key(request):
            return Response(status_code=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        rules = self.sandbox.faults
        fault = next((f for f in rules if f.strikes(logged.method, logged.path, logged.sub)), None)
        options = self.sandbox.options
        if fault is None or fault.status != 401:  # Cronofy does not count 401s (§7).
            wait = self.sandbox.traffic.admit(logged, options.per_second, options.per_minute)
            if wait:
                headers = retry_after_header(options.personality.retry_after, min(wait, 60.0))
                return Response(status_code=429, headers=headers)

        async def produce() -> Response:
            return await _captured(self.app, request.scope)

        return await fault.respond(request, produce) if fault else await produce()

    def _is_api_key(self, request: Request) -> bool:
        # The key of an application, for calls that the sandbox does not have (§1).
        key = request.headers.get("authorization", "").partition(" ")[2]
        return key in self.sandbox.options.client_secrets

    def _caller(self, request: Request, body: dict[str, Any]) -> Account | None:
        registry = self.sandbox.world.registry
        if request.url.path.startswith("/oauth/"):
            # The Python SDK sends the old access token here too: only the body matters (§10).
            return registry.refresher(body.get("refresh_token"))
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return registry.bearer(token) if kind.lower() == "bearer" else None

    def _cost(self, request: Request, call: Call) -> int:
        entries = call.body.get("batch")
        counts_items = self.sandbox.options.personality.batch_cost == "items"
        if request.url.path == "/v1/batch" and isinstance(entries, list) and counts_items:
            return max(1, len(entries))
        return 1


async def _captured(app: ASGIApp, scope: MutableMapping[str, Any]) -> Response:
    """Run the application and return its whole answer; all answers are small."""
    response = Response()
    body = bytearray()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status_code = message["status"]
            response.raw_headers = list(message["headers"])
        else:
            body.extend(message.get("body", b""))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(scope, receive, send)
    response.body = bytes(body)
    return response
