"""The ledger of a command; one that only reads a part of it imports less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from worker.commands.setup import settings_of_role
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.keys import Keys
from worker.ledger.layout import layout_of
from worker.ledger.ledger import Ledger
from worker.ledger.opening import keyless_ledger


@contextmanager
def ledger_of_command() -> Iterator[Ledger]:
    """The ledger, for a command that opens and seals nothing; NewerLedger, or RedisError, if it cannot."""
    settings = settings_of_role()
    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        layout_of(redis, Keys(settings.key_prefix))
        yield keyless_ledger(redis, settings)
