"""`reconciler serve` in a separate process."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from sandbox.world.courier import HEADER, sign
from tests.acceptance.processes import Child
from tests.ports import free_port
from tests.waiting import wait_until

PATH = "/webhooks/cronofy"


class Served:
    """The command and its address."""

    def __init__(self, start: Callable[..., Child], url: str = "") -> None:
        """Start it at this address, or on a free port, and wait until it is ready."""
        self.url = url or f"http://127.0.0.1:{free_port()}"
        self.port = int(self.url.rpartition(":")[2])
        self.child = start("serve", "--port", str(self.port))
        wait_until(self.is_ready, 30, 0.1, what="serve to be ready")

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=3, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def post(self, body: bytes, secret: str, path: str = PATH) -> int:
        """Post a notification signed with this secret; returns the answer's status."""
        headers = {HEADER: sign(body, [secret])}
        answer = httpx.post(self.url + path, content=body, headers=headers, timeout=5, trust_env=False)
        return answer.status_code
