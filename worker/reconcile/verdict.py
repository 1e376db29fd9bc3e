"""What a diagnosis makes of one event's record: pure, and without any call.

The remedies that need a call or an email (another profile, a relink email) are carried out by the
look; here is what stands when none does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from worker.diagnosis.causes import is_overdue
from worker.diagnosis.model import Cause, Certainty, Diagnosis, Policy, Remedy, Seen, State
from worker.diagnosis.schedule import next_look, next_pause, retry_look
from worker.ledger.dead_letters import DeadLetter
from worker.ledger.leases import EventChange
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Stored, TrackedEvent, Write, from_ms, interval_of, to_ms

#: So many looks in a row have to fail before a person is told of it.
FAILURES_TOLD = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judged event: the record as claimed, as it stands after this look, and what to tell."""

    before: Stored
    after: TrackedEvent
    diagnosis: Diagnosis
    seen: Seen | None = None
    outcomes: tuple[Outcome, ...] = ()
    #: The reason for a person, where one is told now.
    escalated: str | None = None
    #: To be kept with the change; where the record cannot be read, its field, under which it is taken out.
    letter: DeadLetter | None = None
    dropped: bytes | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The event's ids."""
        return self.after.key.calendar_id, self.after.key.event_id

    @property
    def change(self) -> EventChange:
        """What the ledger is to write."""
        settled = self.diagnosis.state is not State.PENDING
        heeded = self.seen is not None
        return EventChange(self.before, self.after, settled, self.outcomes, heeded, self.letter, self.dropped)


def judge(
    sub: str,
    before: Stored,
    event: TrackedEvent,
    seen: Seen | None,
    diagnosis: Diagnosis,
    now: datetime,
    policy: Policy,
    *,
    heard: bool = False,
) -> Verdict:
    """Settle, delay or escalate `event` (the claimed record with what was just read of it).

    `heard` says that Cronofy's notifications about the account are known to reach us.
    """
    # What is merely waited for is notified of; a profile that is connected again is not (reference §6b).
    notified = heard and event.subscribed and diagnosis.remedy is Remedy.WAIT
    pause = next_pause(interval_of(event), policy, notified=notified)
    look_at = next_look(diagnosis, pause.wait, event.starts_at, now, policy)
    after = event.diagnosed(diagnosis, now, pause.interval, look_at)
    verdict = Verdict(before, after, diagnosis, seen)
    if diagnosis.state is State.ASSIGNED:
        detail = {"join_url": diagnosis.join_url, "provider_name": diagnosis.detail.get("provider_name")}
        assigned = _outcome(OutcomeType.ASSIGNED, sub, after, diagnosis.cause, now, detail)
        return Verdict(before, after, diagnosis, seen, (*_owed(sub, event, now), assigned))
    if diagnosis.state is State.CLOSED:
        return with_outcome(verdict, sub, OutcomeType.CLOSED, now, {})
    if diagnosis.cause is Cause.PROVIDER_OUTAGE:
        return tell_once(verdict, sub, OutcomeType.DELAYED, now, dict(diagnosis.detail))
    if diagnosis.remedy is Remedy.ESCALATE:
        return escalate_once(verdict, sub, " ".join(diagnosis.evidence), now)
    return verdict


def unread(sub: str, before: Stored, reason: str, now: datetime, policy: Policy) -> Verdict:
    """A look that failed: nothing is concluded of the event, and it is looked at again.

    Where that goes on until the event is overdue, a person is told once, since nobody else would.
    """
    event = before.event
    start = event.starts_at
    after = event.failed(reason, now, retry_look(event.failures + 1, start, now, policy))
    evidence = f"{after.failures} looks in a row failed, the last one so: {reason}"
    state = Diagnosis(State.PENDING, event.cause, Certainty.LIKELY, (evidence,), Remedy.WAIT)
    verdict = Verdict(before, after, state)
    if after.failures < FAILURES_TOLD or not is_overdue(from_ms(event.asked_at), start, now, policy):
        return verdict
    return escalate_once(verdict, sub, evidence, now, "unread")


def escalate_once(verdict: Verdict, sub: str, reason: str, now: datetime, about: str = "") -> Verdict:
    """Tell a person of this event, unless that was done for the same cause (and `about`) before."""
    told = tell_once(verdict, sub, OutcomeType.ESCALATED, now, {"reason": reason}, about)
    return verdict if told is verdict else replace(told, escalated=reason)


def tell_once(
    verdict: Verdict, sub: str, kind: OutcomeType, now: datetime, detail: dict[str, Any], about: str = ""
) -> Verdict:
    """Add an outcome, unless it was told for the same cause (and `about`) before."""
    mark = _mark(verdict, about)
    if mark in verdict.after.told:
        return verdict
    told = replace(verdict, after=replace(verdict.after, told=(*verdict.after.told, mark)))
    return with_outcome(told, sub, kind, now, detail)


def _mark(verdict: Verdict, about: str) -> str:
    cause = verdict.diagnosis.cause
    return f"{cause.value if cause else ''}:{about or verdict.diagnosis.detail.get('profile_id', '')}"


def with_outcome(
    verdict: Verdict, sub: str, kind: OutcomeType, now: datetime, detail: dict[str, Any]
) -> Verdict:
    """Add an outcome of this event."""
    outcome = _outcome(kind, sub, verdict.after, verdict.diagnosis.cause, now, detail)
    return replace(verdict, outcomes=(*verdict.outcomes, outcome))


def intend(verdict: Verdict, to_profile_id: str, now: datetime, *, subscribed: bool = False) -> Verdict:
    """Before a write is sent: the record says that it will be, so that it is never forgotten.

    `subscribed` says that it carries a subscription of ours.
    """
    writes = {**verdict.before.event.writes, to_profile_id: Write(to_ms(now), subscribed=subscribed)}
    return replace(verdict, after=replace(verdict.after, writes=writes))


def reassigned(
    verdict: Verdict, sub: str, to_profile_id: str, provider_name: str | None, now: datetime, policy: Policy
) -> Verdict:
    """Cronofy accepted the write: the event waits anew, for the new profile."""
    from_profile_id = verdict.after.profile_id
    intent = verdict.after.writes[to_profile_id]
    writes = {**verdict.after.writes, to_profile_id: replace(intent, at=to_ms(now), accepted=True)}
    after = replace(
        verdict.after.asked_again(now),
        profile_id=to_profile_id,
        provider_name=provider_name,
        writes=writes,
        next_look=to_ms(now + policy.recheck_min),
    )
    detail = {"from_profile_id": from_profile_id, "to_profile_id": to_profile_id}
    return with_outcome(replace(verdict, after=after), sub, OutcomeType.REASSIGNED, now, detail)


def write_refused(verdict: Verdict, sub: str, to_profile_id: str, reason: str, now: datetime) -> Verdict:
    """Cronofy refused the write for good: it is not sent again, and a person is told."""
    writes = {**verdict.after.writes, to_profile_id: Write(to_ms(now), refused=reason)}
    after = replace(verdict.after, writes=writes).noted(now, "write_refused", reason)
    refused = replace(verdict, after=after)
    # The next look finds no profile left to try; that is no news then.
    mark = _mark(refused, "")
    refused = replace(refused, after=replace(refused.after, told=(*refused.after.told, mark)))
    return escalate_once(
        refused, sub, f"Setting the profile {to_profile_id} failed: {reason}", now, to_profile_id
    )


def write_unanswered(verdict: Verdict, reason: str, now: datetime, policy: Policy) -> Verdict:
    """The write may or may not have arrived: a later look sees, and sends it again only if it must."""
    failures = verdict.before.event.failures + 1
    look_at = retry_look(failures, verdict.after.starts_at, now, policy)
    after = replace(verdict.after, failures=failures, next_look=to_ms(look_at)).noted(
        now, "write_failed", reason
    )
    return replace(verdict, after=after)


def write_put_off(verdict: Verdict, earlier: Mapping[str, Write], now: datetime) -> Verdict:
    """The write was not sent, for want of budget: the event stays due, with its `earlier` writes."""
    return replace(verdict, after=replace(verdict.after, writes=earlier, next_look=to_ms(now)))


def _owed(sub: str, event: TrackedEvent, now: datetime) -> tuple[Outcome, ...]:
    """A write whose answer was never seen, and which is now seen in effect (contract §6)."""
    for profile_id, write in event.writes.items():
        if not write.accepted and not write.refused:
            detail = {"from_profile_id": event.profile_id, "to_profile_id": profile_id}
            return (_outcome(OutcomeType.REASSIGNED, sub, event, Cause.PROFILE_REMOVED, now, detail),)
    return ()


def _outcome(
    kind: OutcomeType,
    sub: str,
    event: TrackedEvent,
    cause: Cause | None,
    now: datetime,
    detail: Mapping[str, Any],
) -> Outcome:
    return Outcome(kind, sub, now, event.key.calendar_id, event.key.event_id, cause, detail)
