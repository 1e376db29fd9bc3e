"""What keeps many events waiting, or the whole fleet: the same sentences for status, doctor and the board."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from worker.diagnosis.model import Cause
from worker.ledger.figures import Outage
from worker.ledger.records import CRONOFY_FAILING, NO_BUDGET
from worker.mail.advice import advice_on
from worker.status.snapshot import Status
from worker.wording import amount, provider, spoken

#: From this part of the minute's calls on, the budget is used up; what is kept for urgent looks is not in it.
USED_UP = 0.8


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that a person should know about."""

    #: What it is about, in one or two words.
    name: str
    sentence: str
    #: What helps.
    fix: str
    #: Nothing can be looked at.
    is_grave: bool = False


def troubles(status: Status) -> Iterator[Trouble]:
    """What is going on for many at once, the worst first; a refused client has its own words elsewhere."""
    for outage in sorted(status.outages, key=lambda each: each.provider is not None):
        found = _outage(outage, status)
        if found:
            yield found
    if status.late:
        late = amount(status.late, "account is", "accounts are")
        why, fix = _why_late(status)
        yield Trouble("late", f"{late} late by up to {spoken(_since(status.late_since, status))}: {why}", fix)


def _outage(outage: Outage, status: Status) -> Trouble | None:
    since, where = spoken(_since(outage.since, status)), f" ({outage.data_center})"
    if outage.kind == CRONOFY_FAILING:
        sentence = (
            f"most calls to Cronofy fail{where}, for {since}: {failed_calls(status) or 'few are made now'}"
        )
        return Trouble("Cronofy", sentence, "look at its status page, and at the other lines here", True)
    if outage.kind == NO_BUDGET:
        fix = "find what else makes calls, or lower RECONCILER_API_SHARE"
        return Trouble("Cronofy", f"it answers 429 again and again{where}, for {since}", fix, True)
    if outage.provider is None:
        return None
    waiting = f"{amount(outage.events, 'event waits', 'events wait')} for it, and a few are looked at for all"
    if outage.kind == Cause.PROVIDER_OUTAGE:
        sentence = f"{provider(outage.provider)} has been failing for {since}{where}; {waiting}"
        return Trouble("outage", sentence, advice_on(outage.kind))
    sentence = f"many {provider(outage.provider)} profiles lapsed at once, {since} ago{where}; {waiting}"
    return Trouble("outage", sentence, "ask an administrator there whether the application was revoked")


def failed_calls(status: Status) -> str | None:
    """How many calls failed lately; None if none did."""
    answered, failed = status.budget.answered, status.budget.failed
    return f"{failed:,} of {answered + failed:,} calls failed in five minutes" if failed else None


def _why_late(status: Status) -> tuple[str, str]:
    """Why looks are late, and what would help."""
    budget = status.budget
    if status.paused_since is not None:
        return "an operator paused the fleet", "end it: reconciler resume"
    if budget.client_refused:
        return "Cronofy refuses our client", "see the line about the client"
    if any(outage.provider is None for outage in status.outages) or budget.paused_until is not None:
        return "Cronofy cannot be asked", "it ends automatically"
    if budget.used_last_minute >= USED_UP * budget.per_minute:
        fix = "raise RECONCILER_API_SHARE, or ask Cronofy for a higher limit; more workers do not help"
        return "the budget is used up", fix
    return "there are too few workers, or beat is missing", "start more: reconciler worker"


def _since(moment: datetime, status: Status) -> float:
    """Seconds since then, in whole minutes unless there is none."""
    seconds = max(0.0, (status.at - moment).total_seconds())
    return seconds if seconds < 60 else round(seconds / 60) * 60
