"""Who may read the board and metrics: anyone with the token, or, if none is set, only this machine."""

from __future__ import annotations

import hmac
from base64 import b64decode
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from config.settings import Settings

#: Headers that proxies add: with them, a request comes from elsewhere even over a local connection.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def is_loopback(host: str) -> bool:
    """Whether this is a loopback name or address."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def has_token(request: Request, settings: Settings) -> bool:
    """Whether the request has the configured token, as a bearer token or a browser's password."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        return is_token(_password(given), settings)
    return scheme.lower() == "bearer" and is_token(given.strip(), settings)


def _password(credentials: str) -> str:
    """The password in Basic credentials; the user name does not matter."""
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def is_token(given: str, settings: Settings) -> bool:
    """Whether this is the configured token, compared in constant time."""
    token = settings.board_token
    wanted = token.get_secret_value() if token else ""
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


def comes_from_here(request: Request) -> bool:
    """Whether the request was made on this machine, under a loopback name, and through no proxy.

    Checking the name stops DNS rebinding: web pages in a local browser whose own name resolves to this
    machine.
    """
    client = request.client.host if request.client else ""
    return (
        is_loopback(client)
        and is_loopback(_name_in(request))
        and not any(header in request.headers for header in _FORWARDED)
    )


def _name_in(request: Request) -> str:
    """The host in the request's `Host` header; empty if there is none."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def refusal(request: Request, settings: Settings, scheme: str = "Bearer") -> Response | None:
    """The answer to a request that may not read; None if it may.

    `scheme` is what the answer asks for: with Basic, a browser prompts. Both are accepted.
    """
    if settings.board_token is None:
        if comes_from_here(request):
            return None
        return PlainTextResponse(
            "Until RECONCILER_BOARD_TOKEN is set, only this machine may read this.\n", status_code=403
        )
    if has_token(request, settings):
        return None
    return PlainTextResponse(
        "Send the value of RECONCILER_BOARD_TOKEN as a bearer token or as the password.\n",
        status_code=401,
        headers={"WWW-Authenticate": f'{scheme} realm="reconciler"'},
    )
