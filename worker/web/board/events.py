"""The board's lists of pending events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from worker.diagnosis.cause_table import UNSEEN, label
from worker.diagnosis.model import Cause
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Listed, Wanted
from worker.ledger.paging import PART
from worker.web.board.listing import LISTED, Cell, Filter, Listing, Table, asked_of, to_account, to_event
from worker.wording import moment, provider

CAUSES = {"": "any cause", **{cause.value: label(cause) for cause in Cause}}
TOLD = {"": "any", "escalated": "escalated", "acknowledged": "acknowledged"}
#: What the form offers for `before`: durations from now on. An address may say any other, or a time.
SOON = {
    "": "any time",
    "PT1H": "within an hour",
    "PT4H": "within 4 hours",
    "P1D": "within a day",
    "P7D": "within a week",
}
FILTERS = (
    Filter("cause", "Cause", CAUSES),
    Filter("told", "Escalation", TOLD),
    Filter("before", "Starts", SOON),
    Filter("provider", "Service"),
    Filter("account", "Account"),
    Filter("title", "Words of its title"),
    Filter("incident", "Incident", hidden=True),
)


def read_events(ledger: Ledger, given: Mapping[str, str]) -> Listing:
    """The page that these parameters ask for; what is not understood in them counts as not given."""
    asked, before, untitled = asked_of(given, FILTERS), None, None
    if soon := given.get("before", "").strip():
        with suppress(ValueError):
            before = moment(soon, ledger.now())
            asked["before"] = soon
    if "account" not in asked:
        # Only of one account's events.
        untitled = asked.pop("title", None)
    wanted = Wanted(
        cause=Cause(asked["cause"]) if "cause" in asked else None,
        escalated=asked.get("told") == "escalated",
        acknowledged=asked.get("told") == "acknowledged",
        provider=asked.get("provider"),
        account=asked.get("account"),
        incident=asked.get("incident"),
        starts_before=before,
        title=asked.get("title"),
    )
    page = ledger.lists.page(wanted, LISTED, given.get("after"))
    alone = len(wanted.lists) == 1 and wanted.account is None and before is None
    unindexed = wanted.cause is Cause.GENERATING
    size = ledger.lists.size(wanted.lists[0]) if alone and not unindexed else None
    what = {"escalated": "Escalated events", "acknowledged": "Acknowledged events"}
    title = what.get(asked.get("told", ""), "Pending events")
    title += f" of incident {asked['incident']}" if "incident" in asked else ""
    title += f": {CAUSES[asked['cause']]}" if "cause" in asked else ""
    note = "Titles are searched within an account: give its id, too." if untitled else ""
    if "provider" in asked and not {"cause", "told", "account"} & asked.keys():
        note = "Those that are still being created are left out; choose that cause to see them."
    if "account" in asked and "incident" not in asked:
        pending = ledger.pending_count(asked["account"])
        size = pending if asked.keys() == {"account"} else None
        if pending > PART:
            note = (
                f"This account has {pending:,} pending events, which nothing sorts: "
                "they are listed some thousands at a time, the soonest of these first."
            )
    return Listing(
        title,
        "/events",
        events_table(page.events),
        FILTERS,
        asked,
        page.after,
        size,
        note,
        checked=page.checked,
    )


def events_table(events: Iterable[Listed], title: str = "") -> Table:
    """Pending events as a table."""
    headings = ("starts (UTC)", "event", "account", "cause", "service", "escalation")
    return Table(headings, [_row(each) for each in events], title=title)


def _row(each: Listed) -> tuple[Cell, ...]:
    event, given = each.event, each.acknowledged
    told = f"acknowledged {given.text}" if given else "escalated" if event.escalated else None
    return (
        event.starts_at or "unknown",
        to_event(each.sub, event.key),
        to_account(each.sub),
        CAUSES[event.cause.value] if event.cause else UNSEEN,
        provider(event.provider) if event.provider else None,
        told,
    )
