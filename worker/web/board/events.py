"""The board's lists of pending events: which ones a page's address asks for, and a page of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from worker.diagnosis.cause_table import label
from worker.diagnosis.model import Cause
from worker.ledger.ledger import Ledger
from worker.ledger.lists import BadCursor, Page, Wanted
from worker.wording import moment

#: How many events a page shows.
LISTED = 50
#: What the form offers for `before`: durations from now on.
SOON = {
    "": "any time",
    "PT1H": "within an hour",
    "PT4H": "within 4 hours",
    "P1D": "within a day",
    "P7D": "within a week",
}
CAUSES = {"": "any cause", **{cause.value: label(cause) for cause in Cause}}


@dataclass(frozen=True, slots=True)
class EventList:
    """A page of a list."""

    #: What the address asks for, by its parameters; only those that are understood.
    asked: Mapping[str, str]
    page: Page
    #: How many there are, if one list has them all.
    size: int | None

    @property
    def next_url(self) -> str | None:
        """The next page's address, if there may be one."""
        return events_url(**self.asked, after=self.page.after) if self.page.after else None


def events_url(**asked: str) -> str:
    """The address of a list's first page."""
    return "/events" + (f"?{urlencode(asked)}" if asked else "")


def read_events(ledger: Ledger, given: Mapping[str, str]) -> EventList:
    """The page that these parameters ask for; what is not understood in them counts as not given."""
    asked = {
        name: given[name].strip()[:1024]
        for name in ("cause", "told", "provider", "account", "incident", "before")
        if given.get(name, "").strip()
    }
    if asked.get("cause", "") not in CAUSES:
        del asked["cause"]
    if asked.get("told", "escalated") not in ("escalated", "acknowledged"):
        del asked["told"]
    before = None
    if "before" in asked:
        try:
            before = moment(asked["before"], ledger.now())
        except ValueError:
            del asked["before"]
    wanted = Wanted(
        cause=Cause(asked["cause"]) if "cause" in asked else None,
        escalated=asked.get("told") == "escalated",
        acknowledged=asked.get("told") == "acknowledged",
        provider=asked.get("provider"),
        account=asked.get("account"),
        incident=asked.get("incident"),
        starts_before=before,
    )
    try:
        page = ledger.lists.page(wanted, LISTED, given.get("after") or None)
    except BadCursor:
        page = ledger.lists.page(wanted, LISTED)
    alone = len(wanted.lists) == 1 and wanted.account is None and before is None
    unindexed = wanted.cause is Cause.GENERATING
    return EventList(asked, page, ledger.lists.size(wanted.lists[0]) if alone and not unindexed else None)
