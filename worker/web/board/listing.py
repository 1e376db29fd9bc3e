"""The one shape of the board's lists: filters in the address, a table, and the way to the next page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from worker.intake.payloads import LONGEST_ID
from worker.ledger.records import EventKey
from worker.web.board.urls import account_url, event_url, list_url

#: How many rows a page shows.
LISTED = 50


@dataclass(frozen=True, slots=True)
class To:
    """A cell that leads somewhere."""

    url: str
    text: str


def to_account(sub: str | None) -> To | None:
    """The way to an account; None without one."""
    return To(account_url(sub), sub) if sub else None


def to_event(sub: str, key: EventKey) -> To:
    """The way to an event."""
    return To(event_url(sub, key.calendar_id, key.event_id), key.event_id)


#: What stands in a table: text from anywhere, a number, a time, a link, or nothing.
Cell = str | int | datetime | To | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    #: What stands in its place without rows.
    empty: str = "None."
    title: str = ""

    def without(self, heading: str) -> Table:
        """The same without one column: that of what the page is about."""
        at = list(self.headings).index(heading)
        rows = [[*row[:at], *row[at + 1 :]] for row in self.rows]
        return replace(self, headings=[*self.headings[:at], *self.headings[at + 1 :]], rows=rows)


@dataclass(frozen=True, slots=True)
class Filter:
    """One thing that a list can be asked for."""

    name: str
    label: str
    #: What there is to choose, by its word in the address; without it, any text.
    options: Mapping[str, str] | None = None
    #: It has no field: it came with a link.
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a list."""

    title: str
    path: str
    table: Table
    filters: Sequence[Filter] = ()
    #: What the address asks for, by its parameters; only those that are understood.
    asked: Mapping[str, str] = field(default_factory=dict)
    #: The cursor of the next page, if there may be one.
    after: str | None = None
    #: How many there are, if that is known.
    size: int | None = None
    note: str = ""
    #: What was just done here.
    done: str = ""
    #: How many entries were looked at for this page, if that is known.
    checked: int | None = None
    #: Other tables of the same page.
    beside: Sequence[Table] = ()

    @property
    def next_url(self) -> str | None:
        """The next page's address, if there may be one."""
        return list_url(self.path, **self.asked, after=self.after) if self.after else None


def asked_of(given: Mapping[str, str], filters: Sequence[Filter]) -> dict[str, str]:
    """What these parameters ask for; what is not understood in them counts as not given."""
    asked = {}
    for each in filters:
        text = given.get(each.name, "").strip()[:LONGEST_ID]
        if text and (each.options is None or text in each.options):
            asked[each.name] = text
    return asked
