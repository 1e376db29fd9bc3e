"""The board's list of outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import OutcomeType
from worker.ledger.records import EventKey
from worker.web.board.events import CAUSES
from worker.web.board.listing import LISTED, Cell, Filter, Listing, Table, To, asked_of, to_account, to_event
from worker.web.board.urls import incident_url

#: What each type is called.
WORDS = {
    OutcomeType.DELAYED: "delayed by its service",
    OutcomeType.ASSIGNED: "has its link",
    OutcomeType.REASSIGNED: "another profile set",
    OutcomeType.FALLBACK: "last resort used",
    OutcomeType.RELINK_REQUESTED: "user asked to reconnect",
    OutcomeType.MAIL_OWED: "user to be written to",
    OutcomeType.MAIL_REFUSED: "address refused",
    OutcomeType.RELINKED: "user reconnected",
    OutcomeType.CONNECT_REQUESTED: "user asked to connect",
    OutcomeType.CONNECTED: "user connected",
    OutcomeType.ESCALATED: "a person was notified",
    OutcomeType.ACKNOWLEDGED: "acknowledged",
    OutcomeType.CLOSED: "closed",
    OutcomeType.REOPENED: "to happen after all",
    OutcomeType.ACCOUNT_LOST: "account lost",
    OutcomeType.ACCOUNT_CONNECTED: "account connected",
    OutcomeType.TOKEN_NEEDED: "next access token needed",
    OutcomeType.INCIDENT_OPENED: "an incident was told",
    OutcomeType.INCIDENT_CLOSED: "an incident is over",
    OutcomeType.ERASURE_REQUESTED: "a user wants to be erased",
}
FILTERS = (
    Filter("type", "Outcome", {"": "any", **{kind.value: text for kind, text in WORDS.items()}}),
    Filter("account", "Account"),
    Filter("event", "Event"),
)


def read_outcomes(ledger: Ledger, given: Mapping[str, str]) -> Listing:
    """The page that these parameters ask for, the newest first."""
    asked = asked_of(given, FILTERS)
    wanted = {{"account": "sub", "event": "event_id"}.get(n, n): text for n, text in asked.items()}

    def fits(outcome: Mapping[str, Any]) -> bool:
        return all(outcome.get(name) == text for name, text in wanted.items())

    page, after = ledger.outcomes.page(LISTED, given.get("after"), list(wanted.values()), fits)
    return Listing("Outcomes", "/outcomes", outcomes_table(page), FILTERS, asked, after)


def outcomes_table(outcomes: Iterable[Mapping[str, Any]], title: str = "") -> Table:
    """Outcomes as a table."""
    headings = ("at (UTC)", "outcome", "event", "account", "cause", "by whom")
    return Table(headings, [_row(each) for each in outcomes], title=title)


def _row(outcome: Mapping[str, Any]) -> tuple[Cell, ...]:
    sub, event_id, detail = outcome["sub"], outcome["event_id"], outcome["detail"]
    about: Cell = None
    if event_id:
        about = to_event(sub, EventKey(outcome["calendar_id"], event_id))
    elif detail.get("incident"):
        about = To(incident_url(str(detail["incident"])), f"incident {detail['incident']}")
    text = WORDS.get(outcome["type"], outcome["type"])
    if detail.get("withdrawn"):
        text = "acknowledged no more"
    return (
        datetime.fromisoformat(outcome["at"]),
        text,
        about,
        to_account(sub),
        CAUSES.get(outcome["cause"], outcome["cause"]),
        f"{detail['by']}: {detail['note']}" if detail.get("note") else detail.get("by"),
    )
