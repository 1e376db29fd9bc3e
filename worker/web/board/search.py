"""The board's search: an account by its id or its user's address, events by their id or their calendar's."""

from __future__ import annotations

from dataclasses import dataclass

from worker.diagnosis.cause_table import label
from worker.explain.suggestions import NEIGHBOURS, nearest_accounts
from worker.intake.payloads import LONGEST_ID
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Wanted
from worker.ledger.lookup import is_known
from worker.ledger.records import EventKey, TrackedEvent
from worker.web.board.listing import LISTED, Cell, Table, to_account, to_event

#: An account's id and one of its events.
Hit = tuple[str, TrackedEvent]


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
    near: tuple[str, ...] = ()

    @property
    def table(self) -> Table:
        """The events as a table."""
        headings = ("event", "calendar", "account", "starts (UTC)", "state", "cause")
        return Table(headings, [_row(sub, event) for sub, event in self.hits])


def search(ledger: Ledger, text: str) -> Found:
    """Find by an account's, calendar's or event's id, by all three as `status` has them, or by an address."""
    asked = text.strip()
    if not asked or len(asked) > 3 * LONGEST_ID:
        return Found(asked[:100])
    match asked.split():
        case [sub, calendar_id, event_id] if hits := _one(ledger, sub, EventKey(calendar_id, event_id)):
            return _listed(asked, hits)
    accounts = [asked] if is_known(ledger, asked) else []
    if not accounts and "@" in asked:
        accounts = ledger.directory.with_email(asked, LISTED)
    if accounts:
        return Found(asked, accounts=tuple(accounts))
    found = _of_calendar(ledger, asked) or _of_event(ledger, asked)
    if found:
        return _listed(asked, found)
    return Found(asked, near=tuple(nearest_accounts(ledger, asked, at_once=True)))


def _listed(asked: str, hits: list[Hit]) -> Found:
    hits.sort(key=lambda hit: (_state(hit[1]) != "pending", _starts(hit[1])))
    return Found(asked, tuple(hits[:LISTED]), len(hits) > LISTED)


def _one(ledger: Ledger, sub: str, key: EventKey) -> list[Hit]:
    stored = ledger.find(sub, key)
    return [(sub, stored.event)] if stored else []


def _of_calendar(ledger: Ledger, calendar_id: str) -> list[Hit]:
    return [
        (each.sub, each.event)
        for sub in ledger.accounts_of(calendar_id)[:NEIGHBOURS]
        for each in ledger.lists.page(Wanted(account=sub, calendar_id=calendar_id), LISTED).events
    ]


def _of_event(ledger: Ledger, event_id: str) -> list[Hit]:
    found = ledger.directory.with_event(event_id, LISTED + 1)
    return [hit for sub, key in found for hit in _one(ledger, sub, key)]


def _row(sub: str, event: TrackedEvent) -> tuple[Cell, ...]:
    state = _state(event)
    return (
        to_event(sub, event.key),
        event.key.calendar_id,
        to_account(sub),
        event.starts_at or "unknown",
        state,
        label(event.cause) if state != "assigned" else "has its link",
    )


def _state(event: TrackedEvent) -> str:
    return str(event.last["state"]) if event.last else "pending"


def _starts(event: TrackedEvent) -> float:
    return event.starts_at.timestamp() if event.starts_at else 0.0
