"""The board's list of accounts."""

from __future__ import annotations

from collections.abc import Mapping

from worker.ledger.directory import Brief, Standing
from worker.ledger.ledger import Ledger
from worker.ledger.records import DATA_CENTERS
from worker.web.board.listing import LISTED, Cell, Filter, Listing, Table, asked_of, to_account

STANDINGS = {
    "": "all, by id",
    Standing.PENDING.value: "with pending events, the oldest first",
    Standing.DUE.value: "due for a look",
    Standing.LEASED.value: "being looked at",
    Standing.OWING.value: "waiting for an access token",
    Standing.LOST.value: "lost",
}
FILTERS = (
    Filter("standing", "Which", STANDINGS),
    Filter("center", "Data centre", {"": "any", **{center: center for center in DATA_CENTERS}}),
    Filter("begins", "Id begins with"),
)
HEADINGS = (
    *("account", "state", "data centre", "pending"),
    *("oldest since (UTC)", "soonest start (UTC)", "next look (UTC)"),
)


def read_accounts(ledger: Ledger, given: Mapping[str, str]) -> Listing:
    """The page that these parameters ask for."""
    asked = asked_of(given, FILTERS)
    standing = Standing(asked["standing"]) if "standing" in asked else None
    page = ledger.directory.page(
        LISTED,
        given.get("after"),
        standing=standing,
        data_center=asked.get("center"),
        beginning=asked.get("begins", ""),
    )
    alone = asked.keys() <= {"standing"}
    size = ledger.directory.size(standing) if alone else None
    rows = [_row(each) for each in page.accounts]
    return Listing("Accounts", "/accounts", Table(HEADINGS, rows), FILTERS, asked, page.after, size)


def _row(each: Brief) -> tuple[Cell, ...]:
    look = "being looked at" if each.leased_until else "due" if each.due_since else each.next_look
    return (
        to_account(each.sub),
        each.state,
        each.data_center,
        each.pending,
        each.oldest,
        each.soonest,
        look,
    )
