"""Who may read what is served, over real connections: nobody without a token, from wherever they come."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet

from tests.integration.nginx import nginx_before
from tests.integration.served import serving

PATHS = ["/", "/board/live", "/board/search?q=a", "/board/event?account=a&calendar=b&event=c", "/metrics"]
TOKEN = "a-token-of-the-board"
METRICS_TOKEN = "a-token-of-metrics"


@pytest.fixture(scope="module")
def unset(redis_url: str) -> Iterator[str]:
    """The URL of what is served where no token is set."""
    with serving(redis_url=redis_url, vault_keys=Fernet.generate_key().decode()) as url:
        yield url


@pytest.fixture(scope="module")
def guarded(redis_url: str) -> Iterator[str]:
    """The URL of what is served with both tokens."""
    keys = Fernet.generate_key().decode()
    tokens = {"board_token": TOKEN, "metrics_token": METRICS_TOKEN}
    with serving(redis_url=redis_url, vault_keys=keys, **tokens) as url:
        yield url


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "board.example.org", "[evil", ""])
def test_loopback_opens_nothing(unset: str, path: str, host: str) -> None:
    """A proxy calls from here, by the name that it was given, and need not say for whom."""
    address = httpx.URL(unset)
    with socket.create_connection((address.host, address.port or 0), 5) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status = caller.makefile("rb").readline().split()[1]

    assert status == b"401"


def test_a_proxy_that_says_nothing_opens_nothing(unset: str, tmp_path: Path) -> None:
    """nginx with `proxy_pass` alone; what is public still is."""
    with nginx_before(unset, tmp_path) as url:
        answers = {path: httpx.get(url + path, trust_env=False).status_code for path in PATHS}
        healthy = httpx.get(f"{url}/healthz", trust_env=False).status_code

    assert answers == dict.fromkeys(PATHS, 401)
    assert healthy == 200


@pytest.mark.parametrize("path", ["/metrics/", "/healthz/", "/board/search/?q=a", "//evil.example/metrics/"])
def test_no_answer_leads_to_the_host_that_a_request_names(guarded: str, path: str) -> None:
    """A path with a slash too many is not found, instead of redirected to whatever `Host` says."""
    answer = httpx.get(guarded + path, headers={"Host": "evil.example"}, trust_env=False)

    assert answer.status_code == 404
    assert "Location" not in answer.headers


@pytest.mark.parametrize("path", ["/none", "/board/none", "/metrics", "/healthz", "/readyz"])
def test_every_answer_has_strict_headers(guarded: str, path: str) -> None:
    """Pages, refusals, probes, and paths that do not exist."""
    answer = httpx.get(guarded + path, trust_env=False)

    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"


def test_metrics_have_a_token_of_their_own(guarded: str) -> None:
    """It reads the metrics and nothing else; the board's token reads both."""

    def status(path: str, token: str) -> int:
        bearer = {"Authorization": f"Bearer {token}"}
        return httpx.get(guarded + path, headers=bearer, trust_env=False).status_code

    assert [status("/metrics", token) for token in (METRICS_TOKEN, TOKEN)] == [200, 200]
    assert [status("/", token) for token in (METRICS_TOKEN, TOKEN)] == [401, 200]
