"""Who may read what is served: by which token, in which form, how often, and for how long."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import pytest
from starlette.requests import Request

from config.settings import load_settings
from worker.web.access import COOKIE, MOST_ADDRESSES, SESSION_SECONDS, TRIES, TRIES_SECONDS, Access

TOKEN = "a-token-of-the-board"
METRICS_TOKEN = "a-token-of-metrics"
WRONG = "Bearer another-token-of-it"


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock: Clock) -> Access:
    """With both tokens."""
    return Access(load_settings(board_token=TOKEN, metrics_token=METRICS_TOKEN), clock)


def request(client: str = "127.0.0.1", **headers: str) -> Request:
    """A request from this address."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "client": (client, 4711), "headers": raw})


def basic(password: str) -> str:
    """As a browser sends a password."""
    return f"Basic {b64encode(f'anybody:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "board", "metrics"),
    [
        pytest.param(f"Bearer {TOKEN}", None, None, id="bearer"),
        pytest.param(f"bearer {TOKEN}", None, None, id="in lower case"),
        pytest.param(basic(TOKEN), None, None, id="as a password"),
        pytest.param(f"Bearer {METRICS_TOKEN}", 401, None, id="of the metrics"),
        pytest.param(basic(METRICS_TOKEN), 401, None, id="of the metrics, as a password"),
        pytest.param(WRONG, 401, 401, id="wrong bearer"),
        pytest.param(basic("another-token-of-it"), 401, 401, id="wrong password"),
        pytest.param(f"Basic {TOKEN}", 401, 401, id="not as browsers send it"),
        pytest.param("Basic ###", 401, 401, id="no base64"),
        pytest.param("Basic", 401, 401, id="a scheme alone"),
        pytest.param("Bearer ", 401, 401, id="an empty token"),
        pytest.param(f"Digest {TOKEN}", 401, 401, id="another scheme"),
        pytest.param(TOKEN, 401, 401, id="no scheme"),
        pytest.param("", 401, 401, id="none"),
    ],
)
def test_only_who_has_a_token_may_read(
    access: Access, header: str, board: int | None, metrics: int | None
) -> None:
    """From anywhere; and nobody else, not even the machine itself."""
    asked = request("10.0.0.8" if board is None else "127.0.0.1", authorization=header)

    assert (access.board(asked), access.metrics(asked)) == (board, metrics)


@pytest.mark.parametrize("header", ["", "Bearer ", basic(""), WRONG])
def test_without_a_token_nobody_may_read(clock: Clock, header: str) -> None:
    """An empty one opens nothing, nor does a cookie sealed with it."""
    access = Access(load_settings(), clock)
    asked = request(authorization=header, cookie=f"{COOKIE}={access.session()}")

    assert (access.board(asked), access.metrics(asked)) == (401, 401)
    assert access.board(request(cookie=f"{COOKIE}={access.session()}")) == 401
    assert access.sign_in(request(), "") == 401


def test_a_browser_stays_signed_in_for_a_time(access: Access, clock: Clock) -> None:
    """For a week; in another process with the same token, too, but not once the token is another."""
    signed_in = request(cookie=f"{COOKIE}={access.session()}")
    same = Access(load_settings(board_token=TOKEN), clock)
    other = Access(load_settings(board_token="the-next-token-of-it"), clock)

    assert [each.board(signed_in) for each in (access, same, other)] == [None, None, 401]
    clock.now += SESSION_SECONDS - 1
    assert access.board(signed_in) is None
    clock.now += 1
    assert access.board(signed_in) == 401


def test_a_password_for_a_proxy_harms_nobody_who_is_signed_in(access: Access) -> None:
    """Proxies pass on what was meant for them; it is no wrong token then."""
    asked = request(cookie=f"{COOKIE}={access.session()}", authorization=basic("the proxy's own password"))

    assert [access.board(asked) for _ in range(2 * TRIES)] == [None] * 2 * TRIES
    assert access.sign_in(request(), TOKEN) is None


@pytest.mark.parametrize(
    "forge",
    [
        lambda _: "",
        lambda cookie: cookie.partition(".")[0],
        lambda cookie: "9" + cookie,
        lambda cookie: f"never.{cookie.partition('.')[2]}",
        lambda cookie: cookie[:-1] + ("0" if cookie[-1] != "0" else "1"),
        lambda _: TOKEN,
    ],
    ids=["empty", "no seal", "later", "no time", "another seal", "the token"],
)
def test_a_cookie_cannot_be_made_up(access: Access, forge: Callable[[str], str]) -> None:
    """Neither its time nor its seal can be changed."""
    assert access.board(request(cookie=f"{COOKIE}={forge(access.session())}")) == 401


def test_wrong_tokens_are_looked_at_only_so_often(access: Access, clock: Clock) -> None:
    """Then not even the right one, in whatever form; other addresses and who is signed in notice nothing."""
    signed_in = request(cookie=f"{COOKIE}={access.session()}")
    for _ in range(TRIES):
        assert access.sign_in(request(), "a wrong one") == 401

    assert access.sign_in(request(), TOKEN) == 429
    assert access.metrics(request(authorization=f"Bearer {METRICS_TOKEN}")) == 429
    assert access.board(signed_in) is None
    assert access.metrics(request("10.0.0.8", authorization=f"Bearer {METRICS_TOKEN}")) is None
    clock.now += TRIES_SECONDS
    assert access.sign_in(request(), TOKEN) is None


def test_tries_from_one_network_count_together(access: Access) -> None:
    """Who has an IPv6 address has 2⁶⁴ of them."""
    answers = [access.sign_in(request(f"2001:db8::{n:x}"), "a wrong one") for n in range(TRIES + 1)]

    assert answers == [401] * TRIES + [429]
    assert access.sign_in(request("2001:db8:0:1::1"), TOKEN) is None


def test_ipv4_addresses_do_not_count_together(access: Access) -> None:
    """Not even where they come in over IPv6."""
    for _ in range(TRIES):
        access.sign_in(request("::ffff:10.0.0.8"), "a wrong one")

    assert [access.sign_in(request(f"::ffff:10.0.0.{n}"), TOKEN) for n in (8, 9)] == [429, None]
    assert access.sign_in(request("10.0.0.8"), TOKEN) == 429


def test_addresses_are_remembered_within_bounds(access: Access) -> None:
    """The first ones are forgotten."""
    for n in range(MOST_ADDRESSES):
        for _ in range(TRIES if n == 0 else 1):
            access.sign_in(request(f"10.{n >> 8}.{n & 255}.1"), "a wrong one")
    assert access.sign_in(request("10.0.0.1"), TOKEN) == 429

    access.sign_in(request("10.255.0.1"), "a wrong one")

    assert access.sign_in(request("10.0.0.1"), TOKEN) is None
