"""The ledger of a command; one that only reads a part of it imports less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from worker.commands.setup import connected
from worker.ledger.ledger import Ledger
from worker.ledger.opening import keyless_ledger


@contextmanager
def ledger_of_command() -> Iterator[Ledger]:
    """The ledger, for a command that opens and seals nothing; NewerLedger, or RedisError, if it cannot."""
    with connected() as (settings, redis):
        yield keyless_ledger(redis, settings)
