"""`serve` in this process: the application in a real uvicorn on a free port, as the command runs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from config.settings import load_settings
from tests.waiting import wait_until
from worker.cronofy.signature import signature_of
from worker.web.app import build_app
from worker.web.server import listener, server

SECRET = "sandbox-secret"
OLD_SECRET = "the-secret-before"
HEADER = "Cronofy-HMAC-SHA256"


@contextmanager
def serving(**settings: Any) -> Iterator[str]:
    """Serve with these settings; yields the URL."""
    values = {"cronofy_client_id": "sandbox", "cronofy_client_secret": f"{SECRET},{OLD_SECRET}", **settings}
    running = server(build_app(load_settings(**values)))
    with listener("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: running.started, what="the server to start")
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(15)
            assert not thread.is_alive()


def is_healthy(url: str) -> bool:
    """Whether `serve` answers there."""
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def notify(url: str, body: bytes, secret: str = SECRET, path: str = "/webhooks/cronofy") -> httpx.Response:
    """A notification as Cronofy sends it."""
    headers = {HEADER: signature_of(body, secret), "Content-Type": "application/json; charset=utf-8"}
    return httpx.post(url + path, content=body, headers=headers, timeout=10, trust_env=False)
