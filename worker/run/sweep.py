"""The sweep: makes ready what is due, and wakes as many looks as the budget can pay for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import structlog

from worker.bootstrap import Services
from worker.ledger.records import DATA_CENTERS, FLEET

#: How many accounts one batch looks at, at most.
BATCH_SIZE = 100
#: More batches than this would only lengthen the queue; the next sweep comes soon.
MOST_BATCHES = 8
#: How many accounts one script moves: it blocks the server while it runs.
MOVED_AT_A_TIME = 300
#: How many one sweep moves at most.
MOST_MOVED = 30_000

log = structlog.get_logger()


def sweep(services: Services) -> int:
    """Move what is due to ready and return how many batches of looks to wake.

    Does nothing and returns 0 if another sweep took this tick: any number of beats is safe.
    """
    ledger = services.ledger
    if not ledger.wakeups.take_sweep(services.settings.sweep_every):
        return 0
    _note_trouble(services)
    ledger.directory.catch_up()
    freed = 0
    while freed < MOST_MOVED:
        made = ledger.see_to_outages(MOVED_AT_A_TIME, services.settings.recheck_min)
        freed += made
        if made < MOVED_AT_A_TIME:
            break
    moved = expired = 0
    ready: Mapping[str, int] = {}
    while moved + expired < MOST_MOVED:
        promotion = ledger.promote(MOVED_AT_A_TIME)
        moved, expired, ready = moved + promotion.due, expired + promotion.expired, promotion.ready
        if promotion.due < MOVED_AT_A_TIME and promotion.expired < MOVED_AT_A_TIME:
            break
    payable = _payable(services, ready)
    if any(ready.values()) or expired:
        log.info("sweep.done", due=moved, expired_leases=expired, ready=sum(ready.values()), payable=payable)
    return min(MOST_BATCHES, math.ceil(payable / BATCH_SIZE))


def _note_trouble(services: Services) -> None:
    """Note what keeps looks from being made, once for each origin: for the first of its data centres."""
    ledger, cronofy = services.ledger, services.looker.cronofy
    known = ledger.outages()
    for origin, center in {cronofy.origin(center): center for center in reversed(DATA_CENTERS)}.items():
        kind = cronofy.budget(origin).trouble()
        for each in FLEET:
            if (each == kind) != (f"{each}@{center}" in known):
                ledger.note_trouble(each, center, is_on=each == kind)


def _payable(services: Services, ready: Mapping[str, int]) -> int:
    """How many of the ready accounts the budget can pay for before the next sweep, at most.

    Data centres with the same origin share its budget.
    """
    cronofy = services.looker.cronofy
    wanted: Counter[str] = Counter()
    urgent: Counter[str] = Counter()
    for center, accounts in ready.items():
        wanted[cronofy.origin(center)] += accounts
        urgent[cronofy.origin(center)] += _urgent(services, center) if accounts else 0
    every = services.settings.sweep_every
    return sum(
        min(accounts, max(urgent[origin], cronofy.budget(origin).room(every)))
        for origin, accounts in wanted.items()
        if accounts
    )


def _urgent(services: Services, center: str) -> int:
    """How many ready accounts have an event so near its start that its look may spend the reserve."""
    policy, ledger = services.looker.policy, services.ledger
    if not policy.fallback or ledger.paused_since() is not None:
        return 0
    return ledger.ready_before(center, policy.fallback_before)
