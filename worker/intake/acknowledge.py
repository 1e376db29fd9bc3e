"""Acknowledging an event: somebody answers for it, so nobody is told of it again for now (contract §6)."""

from __future__ import annotations

from datetime import datetime

from config.durations import parse_duration
from worker.diagnosis.times import parse_instant
from worker.ledger.ledger import Ledger
from worker.ledger.records import Acknowledgement, EventKey, to_ms

#: How often an event may change between reading and writing; each look does at most a few times.
TRIES = 10


def moment(text: str, now: datetime) -> datetime:
    """An ISO 8601 time, or a duration from now on; ValueError says how to write one."""
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        pass
    try:
        return now + parse_duration(text)
    except (ValueError, OverflowError):
        raise ValueError(
            "must be a time such as 2026-12-01T09:00:00Z, or a duration from now on such as P3D"
        ) from None


def acknowledge(ledger: Ledger, sub: str, key: EventKey, note: str, until: str | None, by: str) -> bool:
    """Acknowledge a pending event; false if it is not pending. Raises ValueError for a malformed `until`."""
    now = ledger.now()
    ends = None if until is None else to_ms(moment(until, now))
    for _ in range(TRIES):
        stored = ledger.find_pending(sub, key)
        if stored is None:
            return False
        cause = stored.event.cause
        given = Acknowledgement(to_ms(now), by, note, ends, cause.value if cause else None)
        if ledger.acknowledge(sub, stored, given):
            return True
    return False


def withdraw(ledger: Ledger, sub: str, key: EventKey) -> bool:
    """Take an acknowledgement back; false if there is none."""
    for _ in range(TRIES):
        stored = ledger.find_pending(sub, key)
        if stored is None or ledger.acknowledgement(sub, key) is None:
            return False
        if ledger.acknowledge(sub, stored, None):
            return True
    return False
