"""Counts in the ledger what only this process sees; nothing depends on the count succeeding."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from redis.exceptions import RedisError

from config.settings import Settings
from worker.ledger.connection import connect_once
from worker.ledger.keys import Keys
from worker.ledger.tallies import add

PATIENCE = timedelta(seconds=1)


class Counting:
    """Adds to the ledger's counters."""

    def __init__(self, settings: Settings) -> None:
        """Connects at the first count."""
        self._redis = connect_once(settings.ledger_url, PATIENCE)
        self._keys = Keys(settings.key_prefix)

    def count(self, name: str) -> None:
        """Add one to a counter; lost if the ledger is down."""
        with suppress(RedisError):
            add(self._redis, self._keys, {name: 1})

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
