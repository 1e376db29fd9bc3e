"""The board's search: an account by its id or its user's address, events by their id or their calendar's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.diagnosis.cause_table import label
from worker.explain.suggestions import NEIGHBOURS, Ids, nearest_accounts
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Wanted
from worker.ledger.lookup import is_known
from worker.ledger.records import EventKey, TrackedEvent
from worker.web.board.listing import Table, To
from worker.web.board.urls import account_url, event_url

#: How many events are listed.
LISTED = 50
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
    #: Accounts: with that id, or that were connected with this address.
    accounts: tuple[str, ...] = ()
    #: The most similar account ids, if nothing was found.
    near: tuple[Ids, ...] = ()

    @property
    def table(self) -> Table:
        """The events as a table."""
        rows = [
            (
                To(event_url(hit.sub, hit.calendar_id, hit.event_id), hit.event_id),
                hit.calendar_id,
                To(account_url(hit.sub), hit.sub),
                hit.start or "unknown",
                hit.state,
                hit.cause,
            )
            for hit in self.hits
        ]
        return Table(("event", "calendar", "account", "starts (UTC)", "state", "cause"), rows)


def search(ledger: Ledger, text: str) -> Found:
    """Find by an account's, calendar's or event's id, by all three as `status` has them, or by an address."""
    asked = text.strip()
    if not asked or len(asked) > 3 * LONGEST:
        return Found(asked[:100])
    match asked.split():
        case [sub, calendar_id, event_id] if ledger.find(sub, EventKey(calendar_id, event_id)):
            return _listed(asked, _one(ledger, sub, EventKey(calendar_id, event_id)))
    accounts = [asked] if is_known(ledger, asked) else []
    if not accounts and "@" in asked:
        accounts = ledger.directory.with_email(asked, LISTED)
    if accounts:
        return Found(asked, accounts=tuple(accounts))
    found = _of_calendar(ledger, asked) or _of_event(ledger, asked)
    if found:
        return _listed(asked, found)
    return Found(asked, near=tuple((near,) for near in nearest_accounts(ledger, asked, at_once=True)))


def _listed(asked: str, hits: list[Hit]) -> Found:
    hits.sort(key=lambda hit: (hit.state != "pending", hit.start.timestamp() if hit.start else 0.0))
    return Found(asked, tuple(hits[:LISTED]), len(hits) > LISTED)


def _one(ledger: Ledger, sub: str, key: EventKey) -> list[Hit]:
    stored = ledger.find(sub, key)
    return [_hit(sub, stored.event)] if stored else []


def _of_calendar(ledger: Ledger, calendar_id: str) -> list[Hit]:
    return [
        _hit(each.sub, each.event)
        for sub in ledger.accounts_of(calendar_id)[:NEIGHBOURS]
        for each in ledger.lists.page(Wanted(account=sub, calendar_id=calendar_id), LISTED).events
    ]


def _of_event(ledger: Ledger, event_id: str) -> list[Hit]:
    return [
        hit
        for sub, key in ledger.directory.with_event(event_id, LISTED + 1)
        for hit in _one(ledger, sub, key)
    ]


def _hit(sub: str, event: TrackedEvent) -> Hit:
    state = str(event.last["state"]) if event.last else "pending"
    text = label(event.cause) if state != "assigned" else "has its link"
    return Hit(sub, event.key.calendar_id, event.key.event_id, event.starts_at, state, text)
