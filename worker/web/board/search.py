"""The board's search: finds events by the id of an account, calendar or event."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from worker.diagnosis.cause_table import label
from worker.explain.suggestions import NEIGHBOURS, Ids, nearest_accounts
from worker.ledger.ledger import Ledger
from worker.ledger.lookup import events, is_known
from worker.ledger.records import EventKey, Stored

#: How many events are listed.
LISTED = 50
#: No index maps event ids to accounts, so a search among millions stops after this.
SEARCH_SECONDS = 1.5
#: No id is longer (contract §1).
LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Hit:
    """One event found."""

    sub: str
    calendar_id: str
    event_id: str
    start: datetime | None
    state: str
    cause: str


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search."""

    asked: str
    hits: tuple[Hit, ...] = ()
    #: More events were found than are listed.
    more: bool = False
    #: The search for an event id ran out of time before all accounts were searched.
    partly: bool = False
    #: The most similar account ids, if nothing was found.
    near: tuple[Ids, ...] = ()


def search(ledger: Ledger, text: str) -> Found:
    """Find the events of an account, calendar or event id, or of all three as `status` prints them."""
    asked = text.strip()
    if not asked or len(asked) > 3 * LONGEST:
        return Found(asked[:100])
    match asked.split():
        case [sub, calendar_id, event_id] if ledger.find(sub, EventKey(calendar_id, event_id)):
            return _listed(asked, _one(ledger, sub, EventKey(calendar_id, event_id)))
    found = _of_account(ledger, asked) or _of_calendar(ledger, asked)
    if found:
        return _listed(asked, found)
    hits, partly = _of_event(ledger, asked)
    if hits:
        return _listed(asked, hits, partly)
    return Found(asked, partly=partly, near=tuple((near,) for near in nearest_accounts(ledger, asked)))


def _listed(asked: str, hits: list[Hit], partly: bool = False) -> Found:
    hits.sort(key=lambda hit: (hit.state != "pending", hit.start.timestamp() if hit.start else 0.0))
    return Found(asked, tuple(hits[:LISTED]), len(hits) > LISTED, partly)


def _one(ledger: Ledger, sub: str, key: EventKey) -> list[Hit]:
    stored = ledger.find(sub, key)
    return [_hit(sub, stored)] if stored else []


def _of_account(ledger: Ledger, sub: str) -> list[Hit]:
    return [_hit(sub, stored) for stored in _tracked(ledger, sub)] if is_known(ledger, sub) else []


def _of_calendar(ledger: Ledger, calendar_id: str) -> list[Hit]:
    return [
        _hit(sub, stored)
        for sub in ledger.accounts_of(calendar_id)[:NEIGHBOURS]
        for stored in _tracked(ledger, sub)
        if stored.event.key.calendar_id == calendar_id
    ]


def _tracked(ledger: Ledger, sub: str) -> tuple[Stored, ...]:
    """All readable events of an account, pending and settled."""
    return ledger.pending(sub) + ledger.settled(sub)


def _of_event(ledger: Ledger, event_id: str) -> tuple[list[Hit], bool]:
    hits: list[Hit] = []
    deadline = time.monotonic() + SEARCH_SECONDS
    for some in events(ledger):
        if time.monotonic() > deadline or len(hits) > LISTED:
            return hits, True
        for sub, key in some:
            if key.event_id == event_id:
                hits += _one(ledger, sub, key)
    return hits, False


def _hit(sub: str, stored: Stored) -> Hit:
    event = stored.event
    state = str(event.last["state"]) if event.last else "pending"
    text = label(event.cause) if state != "assigned" else "has its link"
    return Hit(sub, event.key.calendar_id, event.key.event_id, event.starts_at, state, text)
