"""The board's list of emails: addresses are masked, and no text or link is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config.settings import Settings
from worker.ledger.ledger import Ledger
from worker.ledger.mails import WAITING, Known
from worker.ledger.refusals import masked
from worker.web.board.listing import LISTED, Filter, Listing, Table, asked_of, to_account

KINDS = {
    "": "any",
    "relink": "to reconnect a service",
    "connect": "to connect a service",
    "reconnect": "to reconnect the account",
    "fallback": "of another link",
    "incident": "of an incident, to the operator",
    "report": "the report, to the operator",
}
STATES = {
    "": "waiting",
    "gone": "all that left",
    "sent": "sent",
    "owed": "left to the application",
    "kept": "kept as files",
    "refused": "refused for good",
}
FILTERS = (Filter("state", "State", STATES), Filter("kind", "Email", KINDS), Filter("account", "Account"))


def read_mails(ledger: Ledger, settings: Settings, given: Mapping[str, str]) -> Listing:
    """The page that these parameters ask for: what waits, the next first; or what left, the newest first."""
    asked = asked_of(given, FILTERS)
    state = asked.get("state", WAITING)

    def fits(each: Known) -> bool:
        return (
            state in (each.state, "gone")
            and asked.get("kind") in (None, each.kind)
            and asked.get("account") in (None, each.sub)
        )

    read = ledger.mails.waiting if state == WAITING else ledger.mails.gone
    page = read(LISTED, given.get("after"), fits)
    size = ledger.mails.count() if not asked else None
    table = mails_table(ledger, settings, page.mails)
    return Listing("Emails", "/mails", table, FILTERS, asked, page.after, size)


def mails_table(ledger: Ledger, settings: Settings, mails: Sequence[Known], title: str = "") -> Table:
    """Emails as a table."""
    headings = ("email", "to", "account", "state", "tries", "when (UTC)")
    addresses = ledger.directory.emails_of([each.sub for each in mails if each.sub])

    def address_of(each: Known) -> str | None:
        if each.sub:
            return addresses.get(each.sub)
        return settings.report_email if each.kind == "report" else settings.escalation_email

    rows = [
        (
            KINDS.get(each.kind) or ("a letter" if each.sub else "to the operator"),
            masked(address) if (address := address_of(each)) else None,
            to_account(each.sub),
            _state(each),
            each.attempts,
            each.at,
        )
        for each in mails
    ]
    return Table(headings, rows, title=title)


def _state(each: Known) -> str:
    if each.state == WAITING:
        return "tried again" if each.attempts else "waiting"
    return STATES.get(each.state, each.state)
