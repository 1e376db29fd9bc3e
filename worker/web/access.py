"""Who may read what is served: whoever has a token, and nobody else.

Where a request comes from says nothing. A proxy on this machine calls from loopback, by whatever name it was
given, and need not say for whom.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64decode
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from pydantic import SecretStr
from starlette.requests import Request

from config.settings import Settings

COOKIE = "reconciler_board"
#: How long a browser stays signed in.
SESSION_SECONDS = 7 * 24 * 3600
#: After this many wrong tokens from one address, none is looked at until the time is over.
TRIES = 10
TRIES_SECONDS = 60
#: How many addresses are remembered.
MOST_ADDRESSES = 1000


class Access:
    """Decides who may read the board and the metrics."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells the seconds since 1970. Without a token in the settings, nobody may read."""
        self._board = _text(settings.board_token)
        self._metrics = _text(settings.metrics_token)
        self._clock = clock
        #: How many wrong tokens came from an address, since when; in the order of the first ones.
        self._wrong: dict[str, tuple[int, float]] = {}

    def board(self, request: Request) -> int | None:
        """None if this request may read the board; otherwise the status of the refusal, 401 or 429."""
        return self._refusal(request, [self._board])

    def metrics(self, request: Request) -> int | None:
        """The same for the metrics, which have a token of their own as well."""
        return self._refusal(request, [self._board, self._metrics])

    def sign_in(self, request: Request, token: str) -> int | None:
        """The same for a token that was typed."""
        return self._try(request, token, [self._board])

    def session(self) -> str:
        """What a browser's cookie says from now on; worthless once the time is over or the token changed."""
        until = str(int(self._clock()) + SESSION_SECONDS)
        return f"{until}.{self._seal(until)}"

    def form(self, request: Request) -> str:
        """What our forms say to this browser: another site can make it send one, but not read this."""
        return self._seal(f"form:{request.cookies.get(COOKIE, '')}")

    def is_own_form(self, request: Request, given: str) -> bool:
        """Whether a form that came is one that we gave to this browser."""
        return _same(given, self.form(request))

    def _refusal(self, request: Request, tokens: list[str]) -> int | None:
        # First, since what else a browser sends may be meant for a proxy before us.
        if self._is_session(request.cookies.get(COOKIE, "")):
            return None
        given = _credentials(request)
        return 401 if given is None else self._try(request, given, tokens)

    def _try(self, request: Request, given: str, tokens: list[str]) -> int | None:
        address, now = _address(request), self._clock()
        count, since = self._wrong.get(address, (0, now))
        if now - since >= TRIES_SECONDS:
            del self._wrong[address]
            count, since = 0, now
        if count >= TRIES:
            return 429
        # All are compared, so that the time tells nothing.
        if any([_same(given, token) for token in tokens]):  # noqa: C419
            return None
        self._wrong[address] = (count + 1, since)
        if len(self._wrong) > MOST_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        return 401

    def _is_session(self, cookie: str) -> bool:
        until, _, seal = cookie.partition(".")
        # The seal first: what follows is then our own.
        return bool(self._board) and _same(seal, self._seal(until)) and int(until) > self._clock()

    def _seal(self, until: str) -> str:
        return hmac.new(self._board.encode(), f"{COOKIE}:{until}".encode(), hashlib.sha256).hexdigest()


def _credentials(request: Request) -> str | None:
    """The bearer token, or the password of Basic, whatever the user name; None if there is neither."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return given.strip()
        case "basic":
            try:
                return b64decode(given, validate=True).decode().partition(":")[2]
            except ValueError:
                return ""
    return None


def _address(request: Request) -> str:
    """Where the request comes from; of an IPv6 address only the network, since who has one has all of it."""
    host = request.client.host if request.client else ""
    try:
        found = ip_address(host)
    except ValueError:
        return host
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
    return host


def _text(token: SecretStr | None) -> str:
    return token.get_secret_value() if token else ""


def _same(given: str, wanted: str) -> bool:
    """Whether both are the same and not empty, in a time that does not tell how much of it is."""
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())
