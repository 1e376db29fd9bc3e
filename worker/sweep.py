"""The sweep: what is due becomes ready, and as many looks are woken as there is work for."""

from __future__ import annotations

import math

import structlog

from worker.bootstrap import Services

#: How many accounts one batch looks at, at most.
BATCH_SIZE = 100
#: More batches than this at a time only lengthen the queue; the next sweep comes soon.
MOST_BATCHES = 8
#: How many accounts one script moves: it blocks the server meanwhile.
MOVED_AT_A_TIME = 300
#: How many one sweep moves at most.
MOST_MOVED = 30_000

log = structlog.get_logger()


def sweep(services: Services) -> int:
    """Move what is due to ready and return how many batches of looks to wake.

    None are woken where another sweep took this tick: any number of beats is safe.
    """
    ledger = services.ledger
    if not ledger.take_slot(services.settings.sweep_every):
        return 0
    moved = expired = ready = 0
    while moved + expired < MOST_MOVED:
        promotion = ledger.promote(MOVED_AT_A_TIME)
        moved, expired, ready = moved + promotion.due, expired + promotion.expired, promotion.ready
        if promotion.due < MOVED_AT_A_TIME and promotion.expired < MOVED_AT_A_TIME:
            break
    if ready or expired:
        log.info("sweep.done", due=moved, expired_leases=expired, ready=ready)
    return min(MOST_BATCHES, math.ceil(ready / BATCH_SIZE))
