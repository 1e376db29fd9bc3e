"""What happens to an event whose looks fail: it is looked at again, and finally parked.

docs/design.md has the rules and the reasons for them. At RECONCILER_MAX_ATTEMPTS a dead letter holds
the way back, and a person is notified once.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from redis.exceptions import RedisError

from config.logging import MASK
from worker.cronofy.errors import CronofyError
from worker.diagnosis.causes import is_overdue
from worker.diagnosis.model import Cause, Policy
from worker.diagnosis.schedule import is_due, retry_look
from worker.ledger.dead_letters import DeadLetter
from worker.ledger.leases import EventChange, Lease, LeaseLost
from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.packing import Damaged
from worker.ledger.records import (
    FAILING,
    UNREAD,
    EventKey,
    Stored,
    TrackedEvent,
    from_ms,
    to_ms,
)
from worker.ledger.vault import VaultError

T = TypeVar("T")

#: After this many claims in a row that no look ended: a task for the account, then a look per event.
ACCOUNT_ALONE, EVENTS_ALONE = 2, 3
#: A longer traceback keeps its end, which shows where the error was raised.
LONGEST_TRACEBACK = 16_000
#: The task that a parked event's dead letter replays.
WAY_BACK = "conferencing.reconcile_event"
DIED = "no result: the worker's process was killed or ran out of time"

_OUTSIDE = (CronofyError, RedisError, LeaseLost, VaultError, ConnectionError, TimeoutError, MemoryError)


def is_from_outside(error: Exception) -> bool:
    """Whether an error is nobody's fault: from Cronofy, Redis, the vault or this machine."""
    # A plain OSError means files or memory ran out; its subclasses concern a path or a process.
    return isinstance(error, _OUTSIDE) or type(error) is OSError


def unexpected(error: Exception) -> str:
    """The reason given for a look that hit an error nobody planned for."""
    return f"The look failed unexpectedly ({type(error).__name__})."


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in a form that may be kept: its kind, and its traceback with secrets masked."""

    kind: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a look has no verdict on an event, and what is written instead."""

    change: EventChange
    reason: str
    #: What the event raised; None if the failure came from outside.
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """The events of a lease that a look is for, and the others it only checks for news."""

    due: tuple[Stored, ...]
    others: tuple[Stored, ...] = ()
    #: A single event with attempts, so that no other is harmed by it or blamed for it.
    alone: bool = False


def choose(lease: Lease, forced: Collection[EventKey] = ()) -> Selected:
    """The due (or `forced`) events to look at together, or the first one to look at alone."""
    looked_at = [s for s in lease.events if s.event.parked is None]
    wanted = [s for s in looked_at if s.event.key in forced or _is_due(s.event, lease.now)]
    single = sorted((s for s in wanted if _is_single(s)), key=lambda s: s.event.attempts)
    asked = [s for s in single if s.event.key in forced]
    due = tuple(s for s in wanted if not _is_single(s))
    if asked and not any(s.event.key in forced for s in due):
        return Selected((asked[0],), alone=True)
    if due:
        taken = {s.event.key for s in due}
        return Selected(due, tuple(s for s in looked_at if not _is_single(s) and s.event.key not in taken))
    return Selected(tuple(single[:1]), alone=bool(single))


def is_alone(lease: Lease) -> bool:
    """Whether this lease's look needs a task of its own, where it can harm no other account."""
    if lease.unended >= ACCOUNT_ALONE:
        return True
    return any(_is_single(stored) for stored in lease.events) and choose(lease).alone


def singled_out(lease: Lease, limit: int) -> list[EventChange]:
    """After too many claims that no look ended, have each event looked at alone."""
    if lease.unended < EVENTS_ALONE:
        return []
    attempts = max(1, min(lease.unended, limit - 1))
    return [
        EventChange(s, replace(s.event, attempts=attempts))
        for s in lease.events
        if not _is_single(s) and s.event.parked is None
    ]


def uncounted(stored: Stored) -> EventChange:
    """Take back that a look at this event alone was counted: it failed from outside, or was put off."""
    return EventChange(stored, replace(stored.event, attempts=max(0, stored.event.attempts - 1)))


def revived(event: TrackedEvent, now: datetime, limit: int) -> TrackedEvent:
    """A parked event that someone asked for: it gets one more look, and is parked again if that fails."""
    return replace(event, parked=None, attempts=max(1, limit - 1), next_look=to_ms(now))


def unread(lease: Lease, stored: Stored, reason: str, policy: Policy) -> Failure:
    """A look that failed from outside: it concludes nothing, and the event is looked at again.

    If that lasts until the event is overdue, a person is notified once: otherwise nobody would know. Not of
    a closed one that somebody asked about: all that we know of it is that it needs nobody. Nor of one that
    somebody answers for.
    """
    event, now = uncounted(stored).after, lease.now
    start, given = _or_none(lambda: event.starts_at), lease.acknowledgement(event.key)
    after = event.failed(reason, now, retry_look(event.failures + 1, start, now, policy))
    evidence = f"{after.failures} looks in a row failed, the last one with: {reason}"
    cause = _or_none(lambda: event.cause)
    mark = f"{cause or ''}:{UNREAD}"
    overdue = _or_none(lambda: is_overdue(from_ms(event.asked_at), start, now, policy))
    # Nor of one that waits for its user, or while the whole fleet is in trouble, which is told separately.
    needless = (
        event.was_closed
        or (given is not None and given.holds(cause, now))
        or cause is Cause.CREDENTIALS_EXPIRED
        or lease.fleet_in_trouble
    )
    if after.failures < FAILING or not overdue or mark in after.notified or needless:
        return Failure(EventChange(stored, after), evidence)
    after = replace(after, notified=(*after.notified, mark))
    outcome = _escalated(lease.sub, after, evidence, now)
    return Failure(EventChange(stored, after, outcomes=(outcome,)), evidence)


@dataclass(frozen=True, slots=True)
class Failures:
    """Turns what events raise into failures. One per process; safe to share between threads."""

    ledger: Ledger
    policy: Policy
    #: RECONCILER_MAX_ATTEMPTS.
    limit: int
    #: Masks the secrets in a text.
    mask: Callable[[str], str]

    def of(self, lease: Lease, stored: Stored, error: Exception) -> Failure:
        """The failure of an event whose part of a look raised `error`.

        Re-raises an error from outside that concerns more than this event.
        """
        if isinstance(error, CronofyError):
            return unread(lease, stored, error.reason, self.policy)
        if is_from_outside(error):
            raise error
        fault = self.fault(lease, error)
        # A look at this event alone was counted before it began.
        attempts = stored.event.attempts or 1
        if attempts >= self.limit:
            failure = self._parked(lease, stored, fault)
        else:
            look_at = retry_look(attempts, _or_none(lambda: stored.event.starts_at), lease.now, self.policy)
            after = replace(stored.event, attempts=attempts, next_look=to_ms(look_at))
            after = after.noted(lease.now, "look_failed", fault.kind)
            failure = Failure(
                EventChange(stored, after), f"Its last look failed ({fault.kind}).", fault=fault
            )
        try:
            _ = failure.change.value
        except Exception:
            # Not even this record can be packed.
            key = stored.event.key
            value = self.ledger.stored_value(lease.sub, key) or b""
            failure = self.damaged(lease, Damaged(key.field, value, ValueError()), fault)
            return replace(failure, change=replace(failure.change, before=stored))
        return failure

    def before_alone(self, lease: Lease, stored: Stored) -> EventChange | Failure:
        """Count a look at this event alone before it begins; a Failure if the last ones never ended."""
        # An event that was singled out starts with a count that it did not cause.
        if stored.event.attempts >= max(self.limit, 2):
            return self._parked(lease, stored, Fault(DIED))
        return EventChange(stored, replace(stored.event, attempts=stored.event.attempts + 1))

    def damaged(self, lease: Lease, damaged: Damaged, fault: Fault | None = None) -> Failure:
        """A stored value that is not a record: it moves to the dead letters at once.

        Replayed unchanged, the letter tracks the event again by its ids alone; `event` may be corrected
        to the body that was written.
        """
        fault = fault or self.fault(lease, damaged.error)
        before = damaged.stored
        key = before.event.key
        reason = f"The record of this event is damaged ({fault.kind}); it is kept in the dead letters."
        kwargs = {"sub": lease.sub, "calendar_id": key.calendar_id, "event": {"event_id": key.event_id}}
        letter = DeadLetter("conferencing.track", reason, kwargs, fault.traceback, damaged.value)
        outcome = _escalated(lease.sub, before.event, reason, lease.now)
        change = EventChange(
            before, before.event, outcomes=(outcome,), dead_letter=letter, dropped=damaged.field
        )
        return Failure(change, reason, fault)

    def fault(self, lease: Lease, error: Exception) -> Fault:
        """The error with its traceback, secrets masked."""
        text = self.mask("".join(traceback.format_exception(error)))
        # Tokens have no recognisable shape, so the account's are masked by value.
        with suppress(Exception):
            for account in (lease.account, self.ledger.account(lease.sub)):
                credentials = self.ledger.open_credentials(account)
                for token in (credentials.access_token, credentials.refresh_token) if credentials else ():
                    text = text.replace(token, MASK) if token else text
        # Cut only after masking: half a secret would not be recognised.
        return Fault(type(error).__name__, text[-LONGEST_TRACEBACK:])

    def _parked(self, lease: Lease, stored: Stored, fault: Fault) -> Failure:
        attempts = stored.event.attempts or 1
        looks = "1 look" if attempts == 1 else f"{attempts} looks in a row"
        reason = f"Parked: {looks} at this event failed, the last one with {fault.kind}."
        after = replace(stored.event, attempts=attempts, next_look=None, parked=reason)
        given = lease.acknowledgement(stored.event.key)
        if given:
            after = after.answered_for(given, "it was parked", lease.now)
        after = after.noted(lease.now, "parked", fault.kind)
        key = after.key
        kwargs = {"sub": lease.sub, "calendar_id": key.calendar_id, "event_id": key.event_id}
        letter = DeadLetter(WAY_BACK, reason, kwargs, fault.traceback)
        outcome = _escalated(lease.sub, after, reason, lease.now)
        change = EventChange(stored, after, outcomes=(outcome,), dead_letter=letter, unacknowledged=True)
        return Failure(change, reason, fault)


def _is_single(stored: Stored) -> bool:
    """Whether the event must be looked at alone."""
    return stored.event.attempts > 0 and stored.event.parked is None


def _is_due(event: TrackedEvent, now: datetime) -> bool:
    next_look = event.next_look
    if next_look is None:
        return False
    # If the record cannot say, a look shows what is wrong with it.
    return _or_none(lambda: is_due(from_ms(next_look), event.last_interval, now)) is not False


def _or_none(read: Callable[[], T]) -> T | None:
    """What the record says, or None if reading it fails."""
    try:
        return read()
    except Exception:
        return None


def _escalated(sub: str, event: TrackedEvent, reason: str, now: datetime) -> Outcome:
    key, cause = event.key, _or_none(lambda: event.cause)
    return Outcome(OutcomeType.ESCALATED, sub, now, key.calendar_id, key.event_id, cause, {"reason": reason})
