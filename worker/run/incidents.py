"""What an incident is about, read from its events' records: for the email, the commands and the board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.model import Cause
from worker.ledger.incidents import Incident
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Listed, Wanted, incident_list
from worker.ledger.records import MOMENTS, TOLD, UNREAD, Account, TrackedEvent, began, from_ms, run_of
from worker.mail.compose import AffectedEvent, Candidate, RemovedProfile
from worker.reconcile.emails import meeting_of

#: How many of an incident's events are read to tell of it; all are counted.
READ = 1000
#: How many are counted by account.
COUNTED = 10_000
#: Start of an event that has none, in lists.
_FAR = 9e15
_CAUSES = frozenset(cause.value for cause in Cause)


@dataclass(frozen=True, slots=True)
class IncidentSize:
    """How large an incident is now."""

    events: int
    accounts: int
    #: The soonest start, if any is known.
    soonest: datetime | None
    #: It keeps the whole fleet from its work.
    whole_fleet: bool = False


def size_of(ledger: Ledger, incident: Incident, counted: int = COUNTED) -> IncidentSize:
    """Count an incident's events and accounts; of more than `counted` events at least that many accounts."""
    if incident.is_of_fleet:
        return IncidentSize(0, 0, None, whole_fleet=incident.group in ledger.outages())
    if incident.is_damaged:
        return IncidentSize(incident.total, 0, None)
    name = incident_list(incident.incident_id)
    places = ledger.lists.places(name, counted)
    soonest = places[0][1] if places else _FAR
    accounts = len({sub for sub, _ in places})
    return IncidentSize(ledger.lists.size(name), accounts, from_ms(soonest) if soonest < _FAR else None)


def members(ledger: Ledger, incident: Incident, most: int = READ) -> list[Listed]:
    """Up to `most` of an incident's events, the soonest first."""
    found: list[Listed] = []
    wanted, after = Wanted(incident=incident.incident_id), None
    while len(found) < most:
        page = ledger.lists.page(wanted, min(READ, most), after)
        found += page.events
        after = page.after
        if after is None:
            break
    return found[:most]


def removed_profiles(
    listed: Sequence[Listed], account_of: Callable[[str], Account]
) -> tuple[RemovedProfile, ...]:
    """The removed profiles that these events asked for, the soonest meeting first."""
    found: dict[tuple[str, str], list[TrackedEvent]] = {}
    for each in listed:
        profile_id = _detail(each.event).get("profile_id")
        if each.event.cause is Cause.PROFILE_REMOVED and isinstance(profile_id, str):
            found.setdefault((each.sub, profile_id), []).append(each.event)
    return tuple(_removed(account_of(sub), pid, events) for (sub, pid), events in found.items())


def affected(listed: Listed, account: Account) -> AffectedEvent:
    """One of its events as an email shows it."""
    event = listed.event
    event_uid = event.seen.get("event_uid")
    return AffectedEvent(
        meeting=meeting_of(event),
        sub=listed.sub,
        account_email=account.email,
        data_center=account.data_center,
        reason=reason_of(event),
        event_uid=event_uid if isinstance(event_uid, str) else None,
        history=tuple(_seen(event)),
    )


def _seen(event: TrackedEvent) -> Iterator[tuple[datetime, str]]:
    """What was seen and done, in words that another company understands, without what people did."""
    for each in event.history:
        (at, what, _), (done, times) = each, run_of(each)
        if what in MOMENTS:
            continue
        words = TABLE[Cause(what)].label if what in _CAUSES else f"{what.replace('_', ' ')}: {done}"
        yield from_ms(at), words + (f" ({times} times by then)" if times > 1 else "")


def reason_of(event: TrackedEvent) -> str:
    """Why a person is told of the event, and what may be behind it."""
    if event.parked:
        return event.parked
    if event.group == UNREAD:
        last = next((run_of(e)[0] for e in reversed(event.history) if e[1] == "look_failed"), "")
        return f"{event.failures} looks in a row failed, the last one with: {last}"
    lines = event.history[began(event.history, event.cause or "") or 0 :]
    said = next((run_of(each)[0] for each in reversed(lines) if each[1] == "escalated"), TOLD)
    said = "" if said == TOLD else said
    evidence = " ".join((event.last or {}).get("evidence", ()))
    perhaps = TABLE[event.cause].perhaps if event.cause else ""
    return " ".join(
        part for part in (said, evidence, f"Possible reasons: {perhaps}." if perhaps else "") if part
    )


def candidates_for(event: TrackedEvent, account: Account) -> tuple[Candidate, ...]:
    """What the last look found possible in place of the event's removed profile."""
    detail, providers, names = _detail(event), account.memo.providers, account.profile_names
    possible = detail.get("possible", detail.get("candidates", ()))
    return tuple(Candidate(str(to), providers.get(to), names.get(to)) for to in possible)


def _removed(account: Account, profile_id: str, events: Sequence[TrackedEvent]) -> RemovedProfile:
    return RemovedProfile(
        sub=account.sub,
        account_email=account.email,
        profile_id=profile_id,
        profile_name=account.profile_names.get(profile_id),
        provider_name=account.memo.providers.get(profile_id) or events[0].provider,
        events=len(events),
        soonest=meeting_of(events[0]),
        candidates=candidates_for(events[0], account),
    )


def _detail(event: TrackedEvent) -> dict[str, Any]:
    return dict((event.last or {}).get("detail") or {})
