"""Parking: an event whose looks always fail is set aside for a person, and slows nobody until then. Pure.

Who is to blame is what matters. A failure while one event is judged, written or packed is that event's.
One that no event can be blamed for makes all events of the look *suspect*, and so does the third claim in a
row that no look ended: its process died. A suspect is looked at alone, one at a time and apart from all
else in the process, after those that are none; what happens then is its own doing. A look that comes to a
diagnosis clears it.

Errors of Cronofy, Redis, the vault and the machine are never an event's fault, and count for nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from redis.exceptions import RedisError

from worker.cronofy.errors import CronofyError
from worker.diagnosis.model import Cause, Certainty, Diagnosis, Policy, Remedy, State
from worker.diagnosis.schedule import is_due, retry_look
from worker.ledger.dead_letters import DeadLetter
from worker.ledger.leases import EventChange, Lease, LeaseLost
from worker.ledger.outcomes import OutcomeType
from worker.ledger.packing import Unreadable
from worker.ledger.records import EventKey, Stored, TrackedEvent, bare, from_ms, interval_of, to_ms
from worker.ledger.vault import VaultError
from worker.reconcile.verdict import Verdict, with_outcome

#: One death of a worker's process is an accident that may hit any account, and those that it looked at
#: meanwhile. After the second in a row the account has a process to itself; if that dies, the fault is in it.
SUSPICIOUS, TAKEN_APART = 2, 3
#: What fails outside of the event: it is repeated as long as it takes, and blames nobody.
_OUTSIDE = (CronofyError, RedisError, LeaseLost, VaultError, ConnectionError, TimeoutError, MemoryError)

#: The task that takes a parked event up again: what its dead letter replays.
WAY_BACK = "conferencing.reconcile_event"
DIED = "no end: the worker's process was killed or ran out of time"


def is_blameless(error: Exception) -> bool:
    """Whether an error is nobody's fault: of Cronofy, Redis, the vault or this machine."""
    # Without a kind of its own an OSError speaks of files or memory run out; the others name a path.
    return isinstance(error, _OUTSIDE) or type(error) is OSError


@dataclass(frozen=True, slots=True)
class Fault:
    """An error, as far as it may be told: its kind, and its traceback with secrets masked."""

    kind: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """Which of a lease's events one look is for, and which it takes along for news of them."""

    due: tuple[Stored, ...]
    others: tuple[Stored, ...] = ()
    #: A single suspect: nothing else may be harmed by it, or be blamed for it.
    alone: bool = False


def is_suspicious(lease: Lease) -> bool:
    """Whether this lease's look is to be made while the process does nothing else."""
    if lease.unended >= SUSPICIOUS:
        return True
    return any(s.event.suspect for s in lease.events) and choose(lease, ()).alone


def choose(lease: Lease, forced: Collection[EventKey]) -> Turn:
    """The healthy events that are due (or `forced`) together, or else the first suspect alone."""
    wanted = [s for s in lease.events if s.event.key in forced or _due(s.event, lease.now)]
    healthy = tuple(s for s in wanted if not s.event.suspect)
    suspects = sorted((s for s in wanted if s.event.suspect), key=lambda s: s.event.attempts)
    asked = [s for s in suspects if s.event.key in forced]
    if asked and not any(s.event.key in forced for s in healthy):
        return Turn((asked[0],), alone=True)
    if healthy:
        due = {s.event.key for s in healthy}
        others = tuple(s for s in lease.events if not s.event.suspect and s.event.key not in due)
        return Turn(healthy, others)
    return Turn(tuple(suspects[:1]), alone=bool(suspects))


def _due(event: TrackedEvent, now: datetime) -> bool:
    if event.parked is not None or event.next_look is None:
        return False
    try:
        return is_due(from_ms(event.next_look), interval_of(event), now)
    except Exception:
        return True


def suspected(lease: Lease, limit: int) -> list[EventChange]:
    """After claims in a row that no look ended: the account's events, each suspected of all of them."""
    if lease.unended < TAKEN_APART:
        return []
    attempts = max(1, min(lease.unended, limit - 1))
    return [EventChange(s, replace(s.event, attempts=attempts)) for s in lease.events if not s.event.suspect]


def revived(event: TrackedEvent, now: datetime, limit: int) -> TrackedEvent:
    """A parked event that somebody asked for: it is looked at once more, and parked again if that fails."""
    return replace(event, parked=None, trying=False, attempts=max(1, limit - 1), next_look=to_ms(now))


def failed_attempt(
    sub: str, before: Stored, fault: Fault, now: datetime, policy: Policy, limit: int
) -> Verdict:
    """The event made its look fail: it backs off, and is parked at its `limit`-th failure in a row."""
    attempts = before.event.attempts + 1
    if attempts >= limit:
        return parked(sub, before, fault, attempts, now)
    look_at = retry_look(attempts, _start(before.event), now, policy)
    after = replace(before.event, attempts=attempts, trying=False, next_look=to_ms(look_at))
    after = after.noted(now, "look_failed", fault.kind)
    return Verdict(before, after, _undecided(before.event, f"Its last look failed ({fault.kind})."))


def implicated(before: Stored, now: datetime) -> EventChange:
    """One of several whose look failed, and none can be blamed: it is looked at alone, at once."""
    event = before.event
    after = replace(event, attempts=max(1, event.attempts), trying=False, next_look=to_ms(now))
    return EventChange(before, after)


def parked(sub: str, before: Stored, fault: Fault, attempts: int, now: datetime) -> Verdict:
    """The event is looked at no more until a person has it taken up; told, and kept as a dead letter."""
    looks = "1 look" if attempts == 1 else f"{attempts} looks in a row"
    reason = f"Parked: {looks} at this event failed, the last one with {fault.kind}."
    after = replace(before.event, attempts=attempts, trying=False, next_look=None, parked=reason).noted(
        now, "parked", fault.kind
    )
    verdict = replace(Verdict(before, after, _undecided(before.event, reason)), escalated=reason)
    told = with_outcome(verdict, sub, OutcomeType.ESCALATED, now, {"reason": reason})
    key = before.event.key
    kwargs = {"sub": sub, "calendar_id": key.calendar_id, "event_id": key.event_id}
    return replace(told, letter=DeadLetter(WAY_BACK, reason, kwargs, fault.traceback))


def set_aside(sub: str, unreadable: Unreadable, fault: Fault, now: datetime) -> Verdict:
    """A stored value that is no record: it leaves the ledger for the dead letters at once.

    Replayed as it is, the letter has the event watched anew by its ids alone; `event` may be corrected to the
    body that was written.
    """
    reason = f"The record of this event is damaged ({fault.kind}); it is kept in the dead letters."
    before = unreadable.stored
    key = before.event.key
    verdict = Verdict(before, before.event, _undecided(before.event, reason), escalated=reason)
    told = with_outcome(verdict, sub, OutcomeType.ESCALATED, now, {"reason": reason})
    kwargs = {"sub": sub, "calendar_id": key.calendar_id, "event": {"event_id": key.event_id}}
    letter = DeadLetter("conferencing.track", reason, kwargs, fault.traceback, unreadable.value)
    return replace(told, letter=letter, dropped=unreadable.field)


def unnamed(verdict: Verdict) -> Verdict:
    """The verdict with nothing of the event but its ids: where the rest cannot be put into an email."""
    return replace(verdict, after=bare(verdict.after.key))


def _undecided(event: TrackedEvent, reason: str) -> Diagnosis:
    return Diagnosis(State.PENDING, _cause(event), Certainty.LIKELY, (reason,), Remedy.ESCALATE)


def _cause(event: TrackedEvent) -> Cause | None:
    try:
        return event.cause
    except ValueError:
        return None


def _start(event: TrackedEvent) -> datetime | None:
    try:
        return event.starts_at
    except Exception:
        return None
