"""Who says nothing, or stops in the middle, neither stays nor keeps others out."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from cryptography.fernet import Fernet

from tests.integration.served import notify, serving
from tests.waiting import wait_until
from worker.web import connection, crowd
from worker.web.server import allow_open_files

KEYS = Fernet.generate_key().decode()
HEAD = b"POST /webhooks/cronofy HTTP/1.1\r\nHost: here\r\nContent-Length: 60000\r\n"
#: What was sent before nothing more came.
STOPPED = {
    "nothing": b"",
    "half a head": HEAD,
    "half a body": HEAD + b"\r\n" + b"x" * 1000,
    "a request, and half a head": b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\nGET /hea",
}


@pytest.fixture(scope="module")
def url(redis_url: str) -> Iterator[str]:
    """The URL of what is served, in a process that may have as many connections as the command's."""
    allow_open_files()
    with serving(redis_url=redis_url, vault_keys=KEYS, key_prefix="silent") as url:
        yield url


@contextmanager
def callers(url: str, number: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """This many connections on which this was sent."""
    address = httpx.URL(url)
    with ExitStack() as stack:
        found = []
        for _ in range(number):
            caller = stack.enter_context(socket.create_connection((address.host, address.port or 0), 10))
            caller.sendall(sent)
            found.append(caller)
        yield found


def ended(caller: socket.socket) -> bool:
    """Whether the other side has ended the connection, whatever it said before."""
    caller.setblocking(False)
    try:
        while caller.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def healthy(url: str) -> bool:
    return httpx.get(f"{url}/healthz", timeout=1, trust_env=False).status_code == 200


@pytest.mark.parametrize("sent", STOPPED.values(), ids=STOPPED)
def test_others_are_served_beside_many_that_stopped(
    url: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webhook and the probe, at once, although there are far more than there may be."""
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 128)
    # The first one of all connects to the broker, which may take a while on a busy machine.
    wait_until(lambda: notify(url, b"{}").status_code == 204, 20, what="the broker")
    with callers(url, 400, sent):
        begun = time.monotonic()
        answers = [notify(url, json.dumps({"n": n}).encode()).status_code for n in range(20)]

        assert answers == [204] * 20
        assert healthy(url)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("sent", STOPPED.values(), ids=STOPPED)
def test_who_stops_is_sent_away(url: str, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time for a head, or for a body."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(crowd, "BODY_SECONDS", 0.3)
    with callers(url, 1, sent) as [caller]:
        if b"\r\n\r\nGET" in sent:
            # The time for a head begins when more of it comes.
            assert caller.recv(65536)
            caller.sendall(b"lt")
        wait_until(lambda: ended(caller), 3, 0.05, what="the end of the connection")


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nX: ", HEAD + b"\r\n"], ids=["head", "body"])
def test_a_byte_now_and_then_buys_no_time(url: str, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for all of the head, and for all of the body."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(crowd, "BODY_SECONDS", 0.5)
    with callers(url, 1, sent) as [caller]:

        def drips_in_vain() -> bool:
            try:
                caller.send(b"x")
            except OSError:
                return True
            return ended(caller)

        wait_until(drips_in_vain, 3, 0.1, what="the end of the connection")


def test_a_late_body_is_answered(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """408, so that who sent it knows."""
    monkeypatch.setattr(crowd, "BODY_SECONDS", 0.2)
    with callers(url, 1, HEAD + b"\r\n") as [caller]:
        answer = caller.recv(65536)

    assert re.match(rb"HTTP/1.1 408 .*\r\nconnection: close\r\n", answer, re.DOTALL)


def test_too_many_bodies_on_their_way_end_the_oldest(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what takes memory. A whole one is taken all the same."""
    monkeypatch.setattr(crowd, "MOST_BODIES", 2)
    with callers(url, 3, STOPPED["half a body"]) as there:
        wait_until(lambda: ended(there[0]), what="the end of the oldest")

        assert [ended(caller) for caller in there] == [True, False, False]
        assert notify(url, b"{}").status_code == 204


def test_who_takes_no_answer_is_sent_away(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks and asks, and reads nothing, until all buffers between are full."""
    monkeypatch.setattr(connection, "TAKE_SECONDS", 0.3)
    with callers(url, 1, b"") as [caller]:
        caller.settimeout(0.5)
        asked = b"GET /board/static/board.css HTTP/1.1\r\nHost: here\r\n\r\n" * 100

        def is_sent_away() -> bool:
            try:
                caller.sendall(asked)
            except TimeoutError:
                return False
            except OSError:
                return True
            return False

        wait_until(is_sent_away, 20, 0.01, what="the end of the connection")


def test_the_silent_go_first_and_the_oldest_of_them(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then those in a head, then those in a body; who is idle after an answer stays longest."""
    answered = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    kinds = [b"", STOPPED["half a head"], STOPPED["half a body"], answered]
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 8)
    monkeypatch.setattr(connection, "AT_ONCE", 1)
    monkeypatch.setattr(connection, "STAY_SECONDS", 0)
    with serving(redis_url=redis_url, vault_keys=KEYS) as url, ExitStack() as stack:
        there = [caller for sent in kinds for caller in stack.enter_context(callers(url, 2, sent))]
        for caller in there[-2:]:
            assert caller.recv(65536)
        for count in range(1, 9):
            # In the middle of a body as well, but younger.
            stack.enter_context(callers(url, 1, STOPPED["half a body"]))
            gone = min(count, 6)
            wait_until(lambda: ended(there[gone - 1]), what=f"the end of connection {gone}")  # noqa: B023

            assert [ended(caller) for caller in there] == [True] * gone + [False] * (8 - gone)


def test_health_is_answered_while_too_many_requests_are_open(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others get a 503 with the time to wait."""
    monkeypatch.setattr(crowd, "MOST_AT_A_TIME", 0)

    refused = notify(url, b"{}")

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert healthy(url)
