"""A ledger as `serve` uses it: in a few threads beside the event loop, so that many requests queue up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from config.settings import Settings
from worker.ledger.connection import connect_once
from worker.ledger.opening import keyless_ledger, open_ledger

#: The time for each step of Redis; Prometheus, for one, waits 10 s by default.
PATIENCE = timedelta(seconds=3)

T = TypeVar("T")


class LedgerPool:
    """One ledger and its threads. It connects when it is first used."""

    def __init__(
        self,
        settings: Settings,
        threads: int,
        name: str,
        patience: timedelta = PATIENCE,
        *,
        with_vault: bool = False,
    ) -> None:
        """It needs no vault key, unless what is sealed has to be read: `with_vault`."""
        redis = connect_once(settings.ledger_url, patience)
        self.ledger = open_ledger(settings, redis) if with_vault else keyless_ledger(redis, settings)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, step: Callable[..., T], *args: Any) -> T:
        """What `step` returns or raises in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, step, *args)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.ledger.redis.close()
