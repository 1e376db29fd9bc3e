"""One HTTP exchange with Cronofy: within the budget and a deadline, and trusting no answer."""

from __future__ import annotations

import json
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx

from worker.cronofy.errors import (
    CronofyError,
    Malformed,
    NotFound,
    RateLimited,
    Refused,
    ScopeRefused,
    ServerFault,
    TimedOut,
    TokenRefused,
    Unreachable,
    Untrusted,
)
from worker.cronofy.way_out import http_client
from worker.cronofy.wire import object_in, objects_in
from worker.ledger.tallies import call_name

#: Larger than any page of events; an endless answer must not fill memory.
LARGEST_ANSWER = 32 * 1024 * 1024
#: How metrics name the endpoints that we call: a bounded set, whatever the ids in a path.
ENDPOINTS: Final = {
    "/oauth/token": "token",
    "/v1/events": "read_events",
    "/v1/userinfo": "userinfo",
    "/v1/batch": "batch",
    "/v1/channels": "channels",
    "/v1/calendars": "update_event",
}
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; its body may contain secrets, so it is not in `repr`."""

    status: int
    body: bytes = field(repr=False)
    #: The answer's headers, by their names in lower case.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def json_object(self, keep: Callable[[dict[str, Any]], Any] | None = None) -> dict[str, Any]:
        """The body as a JSON object, or Malformed.

        `keep` may put something smaller in place of each object within, as soon as that has been parsed: a
        large answer takes many times its size if all of it is in memory at once.
        """
        try:
            value = json.loads(self.body, object_hook=keep)
        except (ValueError, RecursionError):
            raise Malformed("Cronofy's answer is not JSON.", status=self.status) from None
        if not isinstance(value, dict):
            raise Malformed("Cronofy's answer is not a JSON object.", status=self.status)
        return value


class Spending(Protocol):
    """What pays for calls, as `worker.cronofy.budget.Spending` does."""

    #: Calls made, by the name of their counter.
    made: Counter[str]
    #: When the last answer was given, by its sender's clock and by our monotonic one.
    dated: tuple[datetime, float] | None

    def take(self, cost: int = 1, *, refresh: bool = False) -> None:
        """Spend `cost` requests, or raise OutOfBudget."""

    def pause(self, asked: timedelta | None) -> None:
        """After a 429: spend nothing for as long as Cronofy asked, or for a time of one's own choice."""


class Deadline:
    """A deadline on this host's monotonic clock."""

    def __init__(self, length: timedelta) -> None:
        self._end = time.monotonic() + length.total_seconds()

    @property
    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._end - time.monotonic())


class HttpClient:
    """A pooled HTTP client. One per process, made after the fork; safe to share between threads."""

    def __init__(self, timeout: timedelta, connections: int) -> None:
        """`timeout` bounds each wait of an exchange, and reading its whole body.

        SettingsError names a variable of the environment's proxies or certificates that cannot be used.
        """
        self._timeout = timeout
        self._http = http_client(
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30.0
            ),
            # All accounts share this client: one's cookies must not go out with another's call.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"User-Agent": "conferencing-reconciler", "Accept": "application/json"},
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close the pool."""
        self._http.close()

    def call(
        self,
        method: str,
        url: str,
        *,
        spending: Spending,
        deadline: Deadline,
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
        cost: int = 1,
        also: tuple[int, ...] = (),
    ) -> Answer:
        """Send one request; return its answer if the status is 2xx or in `also`, else raise a CronofyError.

        `deadline` is the whole look's; the exchange ends at it or at its own timeout, whichever is sooner.
        OutOfBudget is raised before anything is sent. A call without a `token` is a refresh.
        """
        if deadline.left <= 0:
            raise Unreachable("This look has no time left for another call to Cronofy.")
        spending.take(cost, refresh=token is None)
        left = min(self._timeout.total_seconds(), deadline.left)
        ended: int | str = "unreachable"
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = self._exchange(left, method=method, url=url, json=body, headers=headers)
            ended = answer.status
            date = _http_date(answer.headers.get("date"))
            if date is not None:
                spending.dated = (date, time.monotonic())
        except TimedOut:
            ended = "timeout"
            raise
        finally:
            spending.made[call_name(_endpoint_of(url), ended)] += 1
        if 200 <= answer.status < 300 or answer.status in also:
            return answer
        error = _error(answer)
        if isinstance(error, RateLimited):
            spending.pause(error.retry_after)
        raise error

    def _exchange(self, seconds: float, **request: Any) -> Answer:
        deadline = Deadline(timedelta(seconds=seconds))
        try:
            with self._http.stream(**request, timeout=seconds) as response:
                chunks, size = [], 0
                for chunk in response.iter_bytes():
                    size += len(chunk)
                    if size > LARGEST_ANSWER:
                        raise Malformed("Cronofy's answer is too large.")
                    if deadline.left <= 0:
                        # httpx's timeouts start again with every byte.
                        raise TimedOut(f"Cronofy's answer was not complete after {seconds:.0f} s.")
                    chunks.append(chunk)
                return Answer(response.status_code, b"".join(chunks), dict(response.headers))
        except httpx.TimeoutException as error:
            raise TimedOut(f"Cronofy could not be reached ({type(error).__name__}).") from None
        except httpx.ProxyError:
            raise Unreachable("The proxy on the way to Cronofy refuses the connection.") from None
        except httpx.HTTPError as error:
            distrust = _distrust(error)
            if distrust:
                raise Untrusted(f"Cronofy's certificate is not trusted: {distrust}.") from None
            # Its message may quote the URL, so only the type is passed on.
            raise Unreachable(f"Cronofy could not be reached ({type(error).__name__}).") from None
        except (httpx.InvalidURL, UnicodeError):
            raise Refused("The request does not make a valid URL.") from None


def _distrust(error: BaseException | None) -> str | None:
    """Why TLS did not trust the other side, if that is the error's cause."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error.verify_message.rstrip(".") if error else None


def parse_retry_after(value: str | None, date: str | None) -> timedelta | None:
    """Read a ``Retry-After`` header, seconds or date; None if it is missing or nonsense.

    A date is relative to the answer's own ``Date``, since this host's clock may be wrong.
    """
    if value is None:
        return None
    try:
        return timedelta(seconds=max(0.0, float(value)))
    except (ValueError, OverflowError):
        pass
    moment = _http_date(value)
    return max(timedelta(0), moment - (_http_date(date) or datetime.now(UTC))) if moment else None


def _http_date(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value) if value else None
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _error(answer: Answer) -> CronofyError:
    """The error for a status other than 2xx (reference §8)."""
    status = answer.status
    retry_after = parse_retry_after(answer.headers.get("retry-after"), answer.headers.get("date"))
    if status == 401:
        return TokenRefused("Cronofy does not recognise the access token.", status=status)
    if status == 403:
        return ScopeRefused("Cronofy says that the authorisation does not cover this.", status=status)
    if status == 423:
        return CronofyError(
            "Cronofy says that the profile cannot be written to at the moment.", status=status
        )
    if status == 429:
        return RateLimited("Cronofy's rate limit is used up.", status=status, retry_after=retry_after)
    if status >= 500:
        return ServerFault(f"Cronofy answered {status}.", status=status, retry_after=retry_after)
    if status in (404, 410):
        return NotFound(f"Cronofy cannot find it ({status}).", status=status)
    if status == 402:
        return Refused("Our Cronofy plan does not include this (402).", status=status)
    if status == 422:
        try:
            errors = describe_errors(answer.json_object().get("errors"))
        except Malformed:
            errors = ""
        return Refused(f"Cronofy refuses the request ({errors or status}).", status=status)
    if 400 <= status < 500:
        return Refused(f"Cronofy answered {status}.", status=status)
    return Malformed(f"Cronofy answered with the unexpected status {status}.", status=status)


def describe_errors(errors: Any) -> str:
    """The first fields and keys in a 422's ``errors``, without anything that a caller wrote."""
    named = []
    for name, faults in list(object_in(errors).items())[:5]:
        keys = [fault["key"][:60] for fault in objects_in(faults) if isinstance(fault.get("key"), str)]
        named.append(f"{name[:60]}: {', '.join(keys[:3])}" if keys else name[:60])
    return "; ".join(named)


def _endpoint_of(url: str) -> str:
    """The label of a URL's endpoint; all pages of a read share one."""
    path = urlsplit(url).path
    for start, word in ENDPOINTS.items():
        if path == start or path.startswith(f"{start}/"):
            return word
    return OTHER
