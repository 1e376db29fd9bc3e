"""Broken answers: each becomes one named error whose attributes decide what happens next."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.integration.test_cronofy_raw import TIMEOUT, RawServer, caller_at, http, read, resets, sends
from tests.integration.test_cronofy_reading import Caller, connected
from worker.cronofy.errors import (
    CronofyError,
    Malformed,
    NotFound,
    OutOfBudget,
    RateLimited,
    Refused,
    ScopeRefused,
    ServerFault,
    TimedOut,
    TokenRefused,
    Unreachable,
)
from worker.ledger.ledger import Connecting, Credentials, Ledger

PLANTED_ACCESS, PLANTED_REFRESH, PLANTED_SECRET = "planted-access", "planted-refresh", "planted-secret"


@pytest.fixture
def caller(running: RunningSandbox, ledger: Ledger) -> Iterator[Caller]:
    """A connected account at an empty sandbox, with short timeouts."""
    with connected(running, ledger, timeout=TIMEOUT) as caller:
        yield caller


def status(code: int) -> dict[str, Any]:
    """A fault that answers with this status."""
    return {"kind": "status", "status": code}


def shape(body: Any) -> dict[str, Any]:
    """A fault that answers 200 with this JSON."""
    return {"kind": "wrong_shape", "body": body}


FAULTS = [
    # label, the fault, error, status
    ("401", status(401), TokenRefused, 401),
    ("402", status(402), Refused, 402),
    ("403", status(403), ScopeRefused, 403),
    ("404", status(404), NotFound, 404),
    ("418", status(418), Refused, 418),
    ("422", status(422), Refused, 422),
    ("423", status(423), CronofyError, 423),
    ("429", status(429), RateLimited, 429),
    ("500", status(500), ServerFault, 500),
    ("a redirect", status(302), Malformed, 302),
    ("an HTML 502", {"kind": "html"}, ServerFault, 502),
    ("an HTML 200", {"kind": "html", "status": 200}, Malformed, 200),
    ("a list", shape([]), Malformed, 200),
    ("no events", shape({"pages": {}}), Malformed, None),
    ("events that are not events", shape({"events": [1]}), Malformed, None),
    ("a numeric next page", shape({"events": [], "pages": {"next_page": 7}}), Malformed, None),
    ("a truncated body", {"kind": "truncated"}, Unreachable, None),
    ("no answer", {"kind": "hang"}, TimedOut, None),
]


@pytest.mark.parametrize(("fault", "error", "status"), [pytest.param(*row[1:], id=row[0]) for row in FAULTS])
def test_a_fault_has_its_error(
    caller: Caller, fault: dict[str, Any], error: type[CronofyError], status: int | None
) -> None:
    """Each broken answer is classified by error and status."""
    caller.create("e1")
    caller.control.add_fault(**fault, match={"path_prefix": "/v1/events"})
    raised = read(caller)
    assert (type(raised), raised.status) == (error, status)
    assert raised.retry_after is None


def test_a_look_ends_by_its_own_deadline(running: RunningSandbox, ledger: Ledger) -> None:
    """Calls that are each in time cannot add up to more than a look may take."""
    with connected(running, ledger, timeout=5, look_timeout=0.5) as caller:
        caller.control.add_fault("slow", seconds=0.2)
        session = caller.session()

        begun = time.monotonic()
        with pytest.raises(Unreachable):
            all(session.read_events({caller.calendar_id}, None) == {} for _ in range(10))

        assert time.monotonic() - begun < 1.5
        sent = len(caller.calls())
        with pytest.raises(Unreachable, match="no time left"):
            session.userinfo()
        assert len(caller.calls()) == sent


def in_seconds(seconds: float) -> str:
    """An HTTP date this far from now."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


RETRY_AFTER = [
    # label, header, seconds to wait (at least, at most), whole seconds of the pause (at least, at most)
    ("seconds", lambda: "30", (30, 30), (29, 30)),
    ("a fraction", lambda: "0.5", (0.5, 0.5), (0, 1)),
    ("an HTTP date", lambda: in_seconds(40), (38, 40), (37, 40)),
    ("more than is believed", lambda: "86400", (86400, 86400), (119, 120)),
    ("a date far away", lambda: in_seconds(86400), (86390, 86400), (119, 120)),
    ("zero", lambda: "0", (0, 0), (0, 1)),
    ("below zero", lambda: "-5", (0, 0), (0, 1)),
    ("a date in the past", lambda: in_seconds(-60), (0, 0), (0, 1)),
    ("no header", lambda: None, None, (1, 2.5)),
    ("nonsense", lambda: "soon", None, (1, 2.5)),
    ("infinite", lambda: "inf", None, (1, 2.5)),
    ("a date beyond all dates", lambda: "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None, (1, 2.5)),
]


@pytest.mark.parametrize(
    ("header", "wait", "paused"), [pytest.param(*row[1:], id=row[0]) for row in RETRY_AFTER]
)
def test_a_429_pauses_the_fleet_for_its_retry_after(
    running: RunningSandbox,
    ledger: Ledger,
    header: Callable[[], str | None],
    wait: tuple[float, float] | None,
    paused: tuple[float, float],
) -> None:
    """Retry-After is read as seconds or a date; the pause is a second at least and two minutes at most."""
    value = header()
    answer = http("429 Too Many Requests", b"", *([f"Retry-After: {value}"] if value else []))
    with RawServer(sends(answer)) as server, caller_at(running, ledger, server.url) as caller:
        raised, after = read(caller), read(caller)

    assert (type(raised), type(after), len(server.received)) == (RateLimited, OutOfBudget, 1)
    assert after.retry_after is not None
    assert paused[0] <= after.retry_after.total_seconds() <= paused[1]
    assert (raised.retry_after is None) == (wait is None)
    if wait and raised.retry_after is not None:
        assert wait[0] <= raised.retry_after.total_seconds() <= wait[1]


def test_a_server_faults_retry_after_is_passed_on(caller: Caller) -> None:
    """A 5xx with Retry-After says when to retry, and pauses nobody else."""
    caller.control.add_fault("status", status=503, retry_after=7, times=1)
    raised = read(caller)
    assert (type(raised), raised.retry_after) == (ServerFault, timedelta(seconds=7))
    assert caller.read() == set()


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param("{url}/v1/events/pages/x", id="another port"),
        pytest.param("//{host}/v1/events/pages/x", id="no scheme"),
        pytest.param("http://{own}@{host}/v1/events/pages/x", id="our host as user name"),
        pytest.param("/v1/events/pages/x", id="no host"),
        pytest.param("http://[::1", id="no URL"),
    ],
)
def test_the_token_goes_to_no_other_origin(caller: Caller, running: RunningSandbox, foreign: str) -> None:
    """A next page elsewhere is not followed, whatever the answer says: that server gets no request."""
    caller.create("e1")
    with RawServer(sends(http("200 OK", b'{"events": []}'))) as server:
        host, own = server.url.removeprefix("http://"), running.url.removeprefix("http://")
        url = foreign.format(url=server.url, host=host, own=own)
        caller.control.add_fault("foreign_next_page", url=url, match={"path_prefix": "/v1/events"})

        raised = read(caller)

    assert (type(raised), server.received) == (Malformed, [])


def test_a_redirect_is_not_followed(running: RunningSandbox, ledger: Ledger) -> None:
    """Neither the token nor our own credentials follow a redirect."""
    with RawServer(sends(http("200 OK", b'{"events": []}'))) as other:
        answer = http("307 Temporary Redirect", b"", f"Location: {other.url}/v1/events")
        with RawServer(sends(answer)) as server, caller_at(running, ledger, server.url) as caller:
            raised = read(caller)
    assert (type(raised), other.received) == (Malformed, [])


LEAKY = http(
    "{status}",
    f'{{"error": "x", "echo": "{PLANTED_ACCESS} {PLANTED_REFRESH} {PLANTED_SECRET}"}}'.encode(),
    f"X-Echo: {PLANTED_ACCESS}",
)
BROKEN_HEAD = b"HTTP/1.1 200 OK\r\n" + PLANTED_ACCESS.encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        *(
            pytest.param(sends(LEAKY.replace(b"{status}", f"{status} X".encode())), id=str(status))
            for status in (200, 302, 401, 403, 422, 429, 500)
        ),
        pytest.param(resets, id="reset"),
        pytest.param(sends(BROKEN_HEAD), id="broken head"),
        pytest.param(sends(http("200 OK", PLANTED_REFRESH.encode())), id="no JSON"),
    ],
)
@pytest.mark.parametrize("with_token", [True, False], ids=["at the call", "at the refresh"])
def test_no_error_shows_a_secret(
    running: RunningSandbox, ledger: Ledger, answer: Callable[[socket.socket], None], with_token: bool
) -> None:
    """Neither its text nor its traceback contains a token, our secret or the answer."""
    secrets = (PLANTED_SECRET,)
    with RawServer(answer) as server, caller_at(running, ledger, server.url, secrets=secrets) as caller:
        token = PLANTED_ACCESS if with_token else None
        ledger.connect(Connecting(caller.sub, Credentials(PLANTED_REFRESH, token), "us", None, None))
        raised = read(caller)

    shown = "".join([str(raised), repr(raised), *traceback.format_exception(raised)])
    assert any(PLANTED_ACCESS.encode() in sent or PLANTED_SECRET.encode() in sent for sent in server.received)
    assert "planted" not in shown
