"""The way out to Cronofy: the environment's proxy and certificates, with every guard of the client's."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import worker.cronofy.http
from config.settings import SettingsError
from sandbox.server import RunningSandbox
from tests.certificates import Certificate
from tests.integration.checked_fleet import CheckedFleet
from tests.integration.test_cronofy_raw import RawServer, caller_at, drips, http, read, sends
from worker.cronofy.errors import CronofyError, Malformed, TimedOut, Unreachable
from worker.cronofy.http import HttpClient

NO_EVENTS = http("200 OK", b'{"pages": {}, "events": []}')


class SecureServer(RawServer):
    """The same over TLS."""

    def __init__(self, answer: Callable[[socket.socket], None], certificate: Certificate) -> None:
        super().__init__(answer)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate.path, certificate.key)
        self.url = self.url.replace("http", "https")

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection; one whose client turns away is no request."""
        connection, address = self.socket.accept()
        connection.settimeout(5)
        return self._tls.wrap_socket(connection, server_side=True), address


class ConnectProxy(RawServer):
    """A proxy that passes on what comes through a CONNECT; `received` has each request for one."""

    def __init__(self) -> None:
        super().__init__(self._connect)

    def _connect(self, client: socket.socket) -> None:
        host, port = self.received[-1].split()[1].decode().rsplit(":", 1)
        with socket.create_connection((host, int(port)), 5) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
            back.start()
            _pass_on(client, server)
            back.join(5)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """Of an authority that only this test knows."""
    return Certificate.made(tmp_path)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> Iterator[ConnectProxy]:
    """A proxy that the environment names, with the authority that it trusts."""
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
        yield proxy


def read_all(running: RunningSandbox, ledger: Any, url: str) -> None:
    """One read that succeeds."""
    with caller_at(running, ledger, url, timeout=5) as caller:
        assert caller.session().read_events({caller.calendar_id}, None) == {}


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_calls_go_through_the_environments_proxy(
    running: RunningSandbox,
    ledger: Any,
    proxy: ConnectProxy,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """Encrypted from end to end: the proxy sees a host and a port."""
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv(variable, proxy.url)
    with SecureServer(sends(NO_EVENTS), certificate) as server:
        read_all(running, ledger, server.url)

    assert [request.split()[:2] for request in proxy.received] == [
        [b"CONNECT", server.url.removeprefix("https://").encode()]
    ]
    assert b"Bearer" not in proxy.received[0]
    assert b"Authorization: Bearer" in server.received[0]


@pytest.mark.parametrize(
    "hosts", ["127.0.0.1", "fe80::/10,[::1], 127.0.0.1", "example.com:http,127.0.0.1", "*", "::1/128,*"]
)
def test_hosts_of_no_proxy_are_called_directly(
    running: RunningSandbox,
    ledger: Any,
    proxy: ConnectProxy,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    hosts: str,
) -> None:
    """Entries that only other programs understand do no harm."""
    monkeypatch.setenv("NO_PROXY", hosts)
    with SecureServer(sends(NO_EVENTS), certificate) as server:
        read_all(running, ledger, server.url)

    assert proxy.received == []


def test_a_directory_of_certificates_is_trusted(
    running: RunningSandbox, ledger: Any, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are named as OpenSSL wants them."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    authorities = certificate.path.parent / "authorities"
    authorities.mkdir()
    shutil.copy(certificate.path, authorities)
    subprocess.run(["openssl", "rehash", authorities], check=True)
    monkeypatch.setenv("SSL_CERT_DIR", str(authorities))
    with SecureServer(sends(NO_EVENTS), certificate) as server:
        read_all(running, ledger, server.url)


GUARDS = [
    ("a body that drips", drips(b"HTTP/1.1 200 OK\r\n\r\n{", b" "), TimedOut, "not complete"),
    ("a head that stops", drips(b"HTTP/1.1 200 OK\r\n", b""), TimedOut, "could not be reached"),
    ("a body without end", sends(http("200 OK", b"{" * 5000)), Malformed, "too large"),
    ("a redirect", sends(http("302 Found", b"", "Location: https://127.0.0.1:1/")), Malformed, "302"),
]


@pytest.mark.parametrize(("answer", "error", "why"), [pytest.param(*row[1:], id=row[0]) for row in GUARDS])
def test_every_guard_holds_through_a_proxy(
    running: RunningSandbox,
    ledger: Any,
    proxy: ConnectProxy,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[socket.socket], None],
    error: type[CronofyError],
    why: str,
) -> None:
    """Deadlines, the limit on a body, no redirects."""
    monkeypatch.setattr(worker.cronofy.http, "LARGEST_ANSWER", 4000)
    with SecureServer(answer, certificate) as server, caller_at(running, ledger, server.url) as caller:
        raised = read(caller)

    assert (type(raised), why in raised.reason) == (error, True)
    assert len(proxy.received) == 1


REFUSALS = [
    ("refuses", sends(http("407 Proxy Authentication Required")), Unreachable, "The proxy"),
    ("says nothing", drips(b"", b""), TimedOut, "could not be reached"),
]


@pytest.mark.parametrize(("answer", "error", "why"), [pytest.param(*row[1:], id=row[0]) for row in REFUSALS])
def test_a_proxy_that_does_not_pass_on_is_an_outage(
    running: RunningSandbox,
    ledger: Any,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[socket.socket], None],
    error: type[CronofyError],
    why: str,
) -> None:
    """It says nothing about an account, and ends in time; the proxy's password is not repeated."""
    with RawServer(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:planted@"))
        with caller_at(running, ledger, "https://api.cronofy.example") as caller:
            raised = read(caller)

    assert (type(raised), why in raised.reason) == (error, True)
    assert "planted" not in str(raised)


def test_an_authority_that_nobody_named_is_the_finding(fleet: CheckedFleet, certificate: Certificate) -> None:
    """It has its remedy, which is not Cronofy's status page."""
    with SecureServer(sends(NO_EVENTS), certificate) as server:
        fleet.values["cronofy_api_url"] = server.url
        [finding] = fleet.complaints("cronofy")

    assert "certificate is not trusted: self-signed certificate" in finding.what
    assert "SSL_CERT_FILE" in finding.fix
    assert "status page" not in finding.fix


UNUSABLE = [
    ("ALL_PROXY", "socks5://user:planted@127.0.0.1:1080", "SOCKS"),
    ("HTTPS_PROXY", "ftp://planted.example", "URL"),
    ("https_proxy", "http://planted:port", "URL"),
    ("HTTP_PROXY", "http://", "URL"),
    ("SSL_CERT_FILE", "/nonexistent.pem", "No such file"),
    ("SSL_CERT_FILE", __file__, "no certificate"),
    ("SSL_CERT_FILE", "/", "directory"),
    ("SSL_CERT_DIR", "/nonexistent", "directory"),
]


@pytest.mark.parametrize(
    ("name", "value", "why"), UNUSABLE, ids=[f"{row[0]}={row[1][:12]}" for row in UNUSABLE]
)
def test_a_variable_that_cannot_be_used_is_named(
    fleet: CheckedFleet, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    """In one sentence, at the start and by the doctor; no value is repeated."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=rf"^{name} [^\n]*{why}[^\n]*\.$") as caught:
        HttpClient(timedelta(seconds=1), connections=1)
    [finding] = [each for each in fleet.complaints("webhook") if each.name == "settings"]

    assert re.match(name, finding.what)
    assert "planted" not in f"{caught.value} {finding}"
