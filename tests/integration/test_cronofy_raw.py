"""Servers that barely speak HTTP: the Cronofy client ends every call in time, with its own error."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import pytest

from sandbox.server import RunningSandbox
from tests.integration.test_cronofy_reading import Caller, connected
from worker.cronofy.errors import CronofyError, Malformed, TimedOut, Unreachable
from worker.ledger.ledger import Ledger

#: Seconds within which every exchange ends.
TIMEOUT = 0.4


class RawServer(socketserver.TCPServer):
    """Answers each connection with whatever `answer` sends, and keeps what it received."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        """Listen on a free loopback port."""
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._answer = answer
        self.received: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Read one request and answer it."""
        request.settimeout(5)
        with contextlib.suppress(OSError):
            self.received.append(_request(request))
            self._answer(request)

    def shutdown_request(self, request: Any) -> None:
        """Close without a word, so that a reset is one."""
        self.close_request(request)

    def __enter__(self) -> Self:
        """Start serving."""
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()


def _request(connection: socket.socket) -> bytes:
    """Read a whole request, head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def sends(data: bytes) -> Callable[[socket.socket], None]:
    """Send these bytes and close."""
    return lambda connection: connection.sendall(data)


def drips(head: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """Send a head, then one byte at a time for far longer than anyone should wait."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(50):
            time.sleep(0.05)
            connection.sendall(drop)

    return answer


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def resets(connection: socket.socket) -> None:
    """Reset the connection without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def caller_at(
    running: RunningSandbox, ledger: Ledger, url: str, **options: Any
) -> contextlib.AbstractContextManager[Caller]:
    """An account whose calls go to another server than the sandbox."""
    return connected(running, ledger, url=url, **{"timeout": TIMEOUT, **options})


def read(caller: Caller) -> CronofyError:
    """The error of a read."""
    begun = time.monotonic()
    with pytest.raises(CronofyError) as caught:
        caller.session().read_events({caller.calendar_id}, None)
    assert time.monotonic() - begun < 1.8
    return caught.value


RAW = [
    ("no HTTP", sends(b"SSH-2.0-OpenSSH\r\n"), Unreachable),
    ("closed at once", lambda _connection: None, Unreachable),
    ("reset at once", resets, Unreachable),
    ("half a head", sends(b"HTTP/1.1 200 OK\r\nContent-"), Unreachable),
    ("broken chunks", sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Unreachable),
    ("broken gzip", sends(http("200 OK", b"no gzip", "Content-Encoding: gzip")), Unreachable),
    ("bytes that are not text", sends(http("200 OK", b'{"events": "\xff\xfe\x80"}')), Malformed),
    ("JSON without an end", sends(http("200 OK", b'{"events": [')), Malformed),
    ("JSON nested without end", sends(http("200 OK", b'{"events": ' + b"[" * 50_000)), Malformed),
    ("an empty 200", sends(http("200 OK")), Malformed),
    ("a body that drips", drips(b"HTTP/1.1 200 OK\r\n\r\n{", b" "), TimedOut),
    ("a head that stops", drips(b"HTTP/1.1 200 OK\r\n", b""), TimedOut),
]


@pytest.mark.parametrize(("answer", "error"), [pytest.param(*row[1:], id=row[0]) for row in RAW])
def test_broken_http_has_its_error(
    running: RunningSandbox,
    ledger: Ledger,
    answer: Callable[[socket.socket], None],
    error: type[CronofyError],
) -> None:
    """However broken or slow the other side is, the call ends in time with an error of ours."""
    with RawServer(answer) as server, caller_at(running, ledger, server.url) as caller:
        raised = read(caller)
    assert type(raised) is error


def test_a_server_that_is_not_there_is_unreachable(running: RunningSandbox, ledger: Ledger) -> None:
    """A refused connection is no more evidence than a lost answer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with caller_at(running, ledger, url) as caller:
        assert type(read(caller)) is Unreachable


def test_the_environments_proxy_is_used(
    running: RunningSandbox, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the environment names a proxy, calls to Cronofy use it too."""
    with RawServer(sends(http("503 Service Unavailable"))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with caller_at(running, ledger, "http://api.cronofy.example") as caller:
            read(caller)
    assert proxy.received[0].startswith(b"GET http://api.cronofy.example/v1/events?")


def test_no_cookie_is_kept(running: RunningSandbox, ledger: Ledger) -> None:
    """All accounts share the client: one account's cookies never go out with another's call."""
    page = http("200 OK", b'{"pages": {}, "events": []}', "Set-Cookie: session=of-one-account; Path=/")
    with RawServer(sends(page)) as server, caller_at(running, ledger, server.url) as caller:
        for _ in range(2):
            assert caller.session().read_events({caller.calendar_id}, None) == {}
        assert len(server.received) == 2
        assert not any(b"of-one-account" in request for request in server.received)
