"""Push notifications: signed, delivered in the background, and as unreliable as configured (§6c)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from sandbox.options import SandboxOptions
from sandbox.world.world import LOG_LENGTH

HEADER = "Cronofy-HMAC-SHA256"
#: A receiver has this long to answer (§6c).
ANSWER_SECONDS = 5.0
#: Before the second delivery; doubled for each further one. Cronofy's own schedule is not documented.
RETRY_SECONDS = 0.2


def sign(body: bytes, secrets: Iterable[str]) -> str:
    """Return the header's value: base64 of HMAC-SHA256 over the raw body, one per secret (§6c)."""
    macs = (hmac.new(secret.encode(), body, hashlib.sha256).digest() for secret in secrets)
    return ",".join(base64.b64encode(mac).decode() for mac in macs)


@dataclass(slots=True)
class Delivery:
    """What happened to one notification: `statuses` has one entry per try, 0 for no answer."""

    url: str
    body: dict[str, Any]
    statuses: list[int] = field(default_factory=list)
    #: "queued", "delivered", "failed", "lost" (by a fault) or "refused" (not an http address).
    state: str = "queued"


class Courier:
    """Delivers notifications as tasks of the running loop."""

    def __init__(
        self, options: Callable[[], SandboxOptions], give_up: Callable[[dict[str, Any]], None]
    ) -> None:
        """Read secrets and faults from `options` at each notification.

        `give_up` is called with the body of one that no try delivered.
        """
        self._options = options
        self._give_up = give_up
        self._client: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.clear()

    def clear(self) -> None:
        """Cancel deliveries in progress, and forget what was sent."""
        for task in self._tasks:
            task.cancel()
        self._random = random.Random(0)
        self._sent = 0
        self.deliveries: deque[Delivery] = deque(maxlen=LOG_LENGTH)

    def send(self, url: str, body: dict[str, Any]) -> None:
        """Queue a notification, and duplicates if that fault is on."""
        options = self._options()
        for _ in range(1 + options.notify_duplicates):
            delivery = Delivery(url, body)
            self.deliveries.append(delivery)
            self._sent += 1
            if not url.startswith(("http://", "https://")):
                delivery.state = "refused"
                continue
            if self._random.random() < options.notify_loss:
                delivery.state = "lost"
                continue
            held = not options.notify_reorder or self._sent % 2 == 1
            task = asyncio.create_task(self._deliver(delivery, options.notify_delay_seconds if held else 0.0))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery, delay: float) -> None:
        await asyncio.sleep(delay)
        options = self._options()
        raw = json.dumps(delivery.body).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            HEADER: sign(raw, options.client_secrets),
        }
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False)
        for attempt in range(options.notify_attempts):
            if attempt:
                await asyncio.sleep(RETRY_SECONDS * 2 ** (attempt - 1))
            try:
                response = await self._client.post(delivery.url, content=raw, headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL):
                delivery.statuses.append(0)
                continue
            delivery.statuses.append(response.status_code)
            if response.is_success:
                delivery.state = "delivered"
                return
        delivery.state = "failed"
        self._give_up(delivery.body)

    async def close(self) -> None:
        """Cancel deliveries in progress and close all connections."""
        tasks = list(self._tasks)
        self.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
