"""Which layout a ledger has, and which ledger it is.

The layout is what the values are and which keys they are under. A version whose ledger an older one would
misread raises `LAYOUT`, and brings older ledgers up to it in `settle`.
"""

from __future__ import annotations

from typing import cast
from uuid import uuid4

from redis import Redis

from worker.ledger.keys import Keys

#: The layout that this program writes. A ledger without a number has layout 1, that of version 0.1.0.
LAYOUT = 1


class NewerLedger(Exception):
    """A newer version of this program changed the ledger, so that this one would misread it."""

    def __init__(self, layout: int) -> None:
        super().__init__(
            f"The ledger has layout {layout}, made by a newer version of this program; this version knows "
            f"layouts up to {LAYOUT}. Run the newer version, or restore the ledger from before the upgrade."
        )


def layout_of(redis: Redis, keys: Keys) -> int:
    """The number of the ledger's layout; NewerLedger if this program does not know it."""
    stored = cast("bytes | None", redis.hget(keys.about, "layout"))
    layout = 1 if stored is None else int(stored)
    if layout > LAYOUT:
        raise NewerLedger(layout)
    return layout


def settle(redis: Redis, keys: Keys) -> None:
    """Number a ledger that has no number yet; NewerLedger if this program does not know its layout."""
    layout_of(redis, keys)
    redis.hsetnx(keys.about, "layout", LAYOUT)


def identity_of(redis: Redis, keys: Keys) -> str:
    """The ledger's random id, made when it is first asked for; it never changes."""
    redis.hsetnx(keys.about, "id", uuid4().hex)
    return cast("bytes", redis.hget(keys.about, "id")).decode()
