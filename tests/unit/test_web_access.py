"""Who may read what is served."""

from __future__ import annotations

from base64 import b64encode

import pytest
from starlette.requests import Request

from config.settings import load_settings
from worker.web.access import refusal

TOKEN = "a-token-of-the-board"


def request(client: str, name: str, **headers: str) -> Request:
    """A request from this address, for this host name."""
    raw = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "scheme": "http",
        "query_string": b"",
        "server": ("127.0.0.1", 8000),
        "client": (client, 4711),
        "headers": [(b"host", f"{name}:8000".encode()), *raw],
    }
    return Request(scope)


@pytest.mark.parametrize(
    ("client", "name", "headers", "status"),
    [
        pytest.param("127.0.0.1", "localhost", {}, None, id="by name"),
        pytest.param("127.0.0.1", "127.0.0.1", {}, None, id="by address"),
        pytest.param("::1", "[::1]", {}, None, id="by IPv6 address"),
        pytest.param("10.0.0.8", "10.0.0.7", {}, 403, id="from elsewhere"),
        pytest.param("10.0.0.8", "localhost", {}, 403, id="from another host, under our name"),
        pytest.param("127.0.0.1", "evil.example", {}, 403, id="under another name"),
        pytest.param("127.0.0.1", "[evil", {}, 403, id="under an invalid name"),
        pytest.param("127.0.0.1", "", {}, 403, id="under no name"),
        pytest.param("127.0.0.1", "localhost", {"x_forwarded_for": "127.0.0.1"}, 403, id="by a proxy"),
        pytest.param("10.0.0.8", "localhost", {"x_forwarded_for": "127.0.0.1"}, 403, id="forged"),
        pytest.param("127.0.0.1", "localhost", {"authorization": "Bearer "}, None, id="empty token"),
    ],
)
def test_without_a_token_only_the_machine_itself_may_read(
    client: str, name: str, headers: dict[str, str], status: int | None
) -> None:
    """Not through a proxy on it, nor a web page whose host name resolves to it."""
    refused = refusal(request(client, name, **headers), load_settings())

    assert (refused.status_code if refused else None) == status
    assert refused is None or b"RECONCILER_BOARD_TOKEN" in bytes(refused.body)


def basic(password: str) -> str:
    """As a browser sends a password."""
    return f"Basic {b64encode(f'anybody:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param(f"Bearer {TOKEN}", None, id="bearer"),
        pytest.param(f"bearer {TOKEN}", None, id="in lower case"),
        pytest.param(basic(TOKEN), None, id="as a password"),
        pytest.param("Bearer another-token-of-it", 401, id="wrong bearer"),
        pytest.param(basic("another-token-of-it"), 401, id="wrong password"),
        pytest.param(f"Basic {TOKEN}", 401, id="not as browsers send it"),
        pytest.param("Basic ###", 401, id="no base64"),
        pytest.param("Basic", 401, id="a scheme alone"),
        pytest.param(f"Digest {TOKEN}", 401, id="another scheme"),
        pytest.param(TOKEN, 401, id="no scheme"),
        pytest.param("", 401, id="none"),
    ],
)
def test_with_a_token_only_its_holders_may_read(header: str, status: int | None) -> None:
    """From anywhere; and nobody else, not even the machine itself."""
    settings = load_settings(board_token=TOKEN)
    client = "127.0.0.1" if status else "10.0.0.8"

    refused = refusal(request(client, "localhost", authorization=header), settings, "Basic")

    assert (refused.status_code if refused else None) == status
    assert refused is None or refused.headers["www-authenticate"].startswith("Basic ")
    assert refused is None or TOKEN.encode() not in bytes(refused.body)
