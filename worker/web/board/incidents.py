"""An incident's page, and what its form says: what a person decides about all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.ledger.incidents import Incident
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Listed
from worker.mail.advice import advice_on, headline
from worker.mail.compose import RemovedProfile
from worker.run.deciding import SAME_PROVIDER
from worker.run.incidents import IncidentSize, members, removed_profiles, size_of
from worker.web.board.listing import Cell, Table, To
from worker.web.board.urls import incident_url

#: How many events, and removed profiles, a page shows.
SHOWN = 20
#: How many events are read for it, and counted by account.
READ, COUNTED = 200, 1000
#: The task that carries a decision out.
TASK = "conferencing.decide_incident"
#: What can be picked for the profiles that a page does not show.
FOR_OTHERS = {
    "": "leave them as they are",
    SAME_PROVIDER: "their only other profile of the same service",
    "integrated": "the calendar's own conferencing",
    "default": "what Cronofy takes by default",
}


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """One incident."""

    incident: Incident
    size: IncidentSize
    what: str
    advice: str
    #: The soonest of its events.
    events: tuple[Listed, ...]
    removed: tuple[RemovedProfile, ...]
    #: How many more removed profiles there are.
    more: int
    #: When, who and what, oldest first.
    history: tuple[tuple[datetime, str], ...]

    @property
    def is_open(self) -> bool:
        """Whether anything can be decided about it."""
        settled = self.incident.is_damaged or self.incident.is_of_fleet
        return self.incident.closed_at is None and not settled


def read_incidents(ledger: Ledger) -> Table:
    """The open incidents, the oldest first."""
    rows = [_row(each, size_of(ledger, each, COUNTED)) for each in ledger.incidents.open()]
    headings = ("incident", "events", "accounts", "the soonest (UTC)", "since (UTC)", "told (UTC)")
    return Table(headings, rows, "None: nothing needs a person.")


def _row(incident: Incident, size: IncidentSize) -> tuple[Cell, ...]:
    return (
        To(incident_url(incident.incident_id), headline(incident.kind, incident.provider)),
        size.events,
        f"at least {size.accounts:,}" if size.events > COUNTED else size.accounts,
        size.soonest or "unknown",
        incident.opened_at,
        incident.told_at or "not told yet",
    )


def read_incident(ledger: Ledger, incident_id: str) -> IncidentPage | None:
    """An incident that is open, or was within `RECONCILER_HISTORY_KEEP`; None if there is none."""
    incident = ledger.incidents.find(incident_id)
    if incident is None:
        return None
    listed = [] if incident.is_damaged or incident.is_of_fleet else members(ledger, incident, READ)
    accounts = ledger.accounts({each.sub for each in listed})
    removed = removed_profiles(listed, accounts.__getitem__)
    return IncidentPage(
        incident,
        size_of(ledger, incident, COUNTED),
        headline(incident.kind, incident.provider),
        advice_on(incident.kind),
        tuple(listed[:SHOWN]),
        removed[:SHOWN],
        max(0, len(removed) - SHOWN),
        tuple(_history(incident)),
    )


def decision_of(incident_id: str, given: Mapping[str, str], by: str) -> dict[str, Any]:
    """The task's arguments that a form stands for."""
    decision: dict[str, Any] = {"incident": incident_id, "by": by}
    if given.get("what") == "acknowledge":
        return {**decision, **note_and_end(given), "acknowledge": True}
    decision["choices"] = [
        {
            "sub": given.get(f"account{number}", ""),
            "profile_id": given[f"profile{number}"],
            "to_profile_id": given.get(f"to{number}") or None,
        }
        for number in range(SHOWN)
        if given.get(f"profile{number}")
    ]
    return {**decision, "others": given.get("others") or None}


def note_and_end(given: Mapping[str, str]) -> dict[str, Any]:
    """What somebody says who answers for an event or an incident, and until when they do."""
    return {name: given[name] for name in ("note", "until") if given.get(name)}


def _history(incident: Incident) -> list[tuple[datetime, str]]:
    lines = [(incident.opened_at, "the first of its events needed a person")]
    if incident.told_at:
        lines.append((incident.told_at, "told, by email" if incident.mailed else "told, in the stream"))
    lines += [(said.at, f"{said.by} {said.what}") for said in incident.said]
    if incident.link_used:
        at, by = incident.link_used
        lines.append((at, f"the link of its email was used, by {by}"))
    if incident.closed_at:
        lines.append((incident.closed_at, "over"))
    return sorted(lines, key=lambda each: each[0])
