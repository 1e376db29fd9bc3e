"""Probes: `/healthz` says that this process is alive, `/readyz` that it reaches the ledger and the broker."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from config.settings import Settings
from worker.broker.outages import why
from worker.broker.queues import queue_lengths
from worker.ledger.connection import BrokerAway, connect_once

#: The time for the ledger and the broker, asked concurrently, to answer.
PATIENCE = timedelta(seconds=1)
HEALTH = "/healthz"


class Probes:
    """Answers supervisors."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="probe")

    def routes(self) -> list[Route]:
        """Both routes are public: they reveal nothing else."""
        return [Route(HEALTH, self.health), Route("/readyz", self.readiness)]

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def health(self, _: Request) -> Response:
        """Always 200: the process answers."""
        return PlainTextResponse("ok\n")

    async def readiness(self, _: Request) -> Response:
        """200, or 503 with what is unreachable and why."""
        loop = asyncio.get_running_loop()
        asked = {
            "the ledger": loop.run_in_executor(self._pool, self._ledger),
            "the broker": loop.run_in_executor(self._pool, self._broker),
        }
        await asyncio.wait(asked.values(), timeout=PATIENCE.total_seconds())
        faults = {
            name: answer.result() if answer.done() else "it does not answer in time"
            for name, answer in asked.items()
        }
        missing = [f"{name}: {fault}" for name, fault in faults.items() if fault]
        if missing:
            return PlainTextResponse("\n".join(missing) + "\n", status_code=503)
        return PlainTextResponse("ok\n")

    def _ledger(self) -> str | None:
        try:
            with closing(connect_once(self._settings.ledger_url, PATIENCE)) as redis:
                redis.ping()
        except RedisError as error:
            return why(error) or type(error).__name__
        return None

    def _broker(self) -> str | None:
        try:
            queue_lengths(self._settings)
        except BrokerAway as away:
            return str(away)
        return None
