"""Acknowledging an event: somebody answers for it, so nobody is told of it again for now (contract §6)."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from config.durations import parse_duration
from worker.diagnosis.times import parse_instant
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Listed, Wanted
from worker.ledger.records import Acknowledgement, EventKey, to_ms
from worker.wording import amount

#: How often an event may change between reading and writing; each look does at most a few times.
TRIES = 10
#: How many of many events are read in one step.
AT_A_TIME = 500


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


def acknowledge_incident(
    ledger: Ledger, incident_id: str, note: str, until: str | None, by: str, within: timedelta
) -> tuple[int, bool]:
    """Acknowledge an incident's events, as many as the time allows: how many, and whether it was over first.

    Raises ValueError for a malformed `until`.
    """
    end, done = time.monotonic() + within.total_seconds(), 0
    events = all_of(ledger, Wanted(incident=incident_id))
    for each in events:
        done += acknowledge(ledger, each.sub, each.event.key, note, until, by)
        if time.monotonic() > end:
            break
    tell_done(ledger, incident_id, by, done, note)
    return done, done < len(events) and time.monotonic() > end


def tell_done(ledger: Ledger, incident_id: str, by: str, done: int, note: str) -> None:
    """Keep in an incident's history for how many of its events somebody answers."""
    if done:
        ledger.note_about(
            incident_id, by, f"acknowledged {amount(done, 'event')}" + (f": {note}" if note else "")
        )


def all_of(ledger: Ledger, wanted: Wanted) -> list[Listed]:
    """All events that are wanted, read before any of them is changed."""
    found: list[Listed] = []
    after = None
    while True:
        page = ledger.lists.page(wanted, AT_A_TIME, after)
        found += page.events
        after = page.after
        if after is None:
            return found


def withdraw(ledger: Ledger, sub: str, key: EventKey) -> bool:
    """Take an acknowledgement back; false if there is none."""
    for _ in range(TRIES):
        stored = ledger.find_pending(sub, key)
        if stored is None or ledger.acknowledgement(sub, key) is None:
            return False
        if ledger.acknowledge(sub, stored, None):
            return True
    return False
