"""When to look at an event again (contract §1): after doubling intervals, and sooner near its start. Pure.

What many events wait for together is one outage of a data centre, which enough reports with no link in
between begin (``common.lua``). Its events are held: they get only the looks that no other can make for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.diagnosis.model import Cause, Diagnosis, Policy, Remedy, State

#: The longest wait after a failed look.
LONGEST_RETRY = timedelta(minutes=10)
#: What many events may wait for together, if they ask for the same service.
HELD = (Cause.PROVIDER_OUTAGE, Cause.CREDENTIALS_EXPIRED)


def first_look(tracked_at: datetime, policy: Policy) -> datetime:
    """The first look comes ``RECHECK_MIN`` after `track`."""
    return tracked_at + policy.recheck_min


def next_interval(previous: timedelta | None, policy: Policy) -> timedelta:
    """Double the previous interval, within the bounds; the first one is the lower bound."""
    if previous is None:
        return policy.recheck_min
    return min(max(previous * 2, policy.recheck_min), policy.recheck_max)


@dataclass(frozen=True, slots=True)
class Pause:
    """The wait until the next look, regardless of the start, and the interval to double next."""

    wait: timedelta
    interval: timedelta


def next_pause(previous: timedelta | None, policy: Policy, *, notices_arrive: bool) -> Pause:
    """The pause after a look whose interval was `previous`.

    If Cronofy is known to notify us of the event, three of every four looks are skipped.
    """
    wait = interval = next_interval(previous, policy)
    for _ in range(3 if notices_arrive else 0):
        interval = next_interval(interval, policy)
        wait += interval
    return Pause(min(wait, policy.recheck_max), interval)


def next_look(
    diagnosis: Diagnosis, interval: timedelta, start: datetime | None, now: datetime, policy: Policy
) -> datetime | None:
    """When to look next, or None for never.

    It is at most a quarter of the time left to `start` away, and at least ``RECHECK_MIN``; and no later than
    the last resort is due. A lost account is not looked at until it is reconnected.
    """
    if diagnosis.state is not State.PENDING or diagnosis.remedy is Remedy.CLOSE:
        return None
    if start is not None and start > now:
        interval = min(interval, (start - now) / 4)
    if diagnosis.last_resort and diagnosis.last_resort.at > now:
        interval = min(interval, diagnosis.last_resort.at - now)
    return now + min(max(interval, policy.recheck_min), policy.recheck_max)


def retry_look(failures: int, start: datetime | None, now: datetime, policy: Policy) -> datetime:
    """When to look again after `failures` failed looks in a row: doubling waits, up to `LONGEST_RETRY`.

    A failed look says nothing about the event, so the event's own interval does not change.
    """
    wait: timedelta = min(policy.recheck_min * 2 ** min(failures, 20), max(LONGEST_RETRY, policy.recheck_min))
    if start is not None and start > now:
        wait = max(policy.recheck_min, min(wait, (start - now) / 4))
    return now + min(wait, policy.recheck_max)


def is_due(next_look_at: datetime, interval: timedelta | None, now: datetime) -> bool:
    """Whether a look at the account includes this event: it is due, or nearly so.

    The last quarter of an interval counts as due, so that an account's events come to share looks: one read
    serves them all.
    """
    return next_look_at <= now + (interval or timedelta(0)) / 4


def is_at_hand(start: datetime | None, now: datetime, policy: Policy) -> bool:
    """Whether an event that starts then is so near its start that the last resort may be used on it."""
    return bool(policy.fallback) and start is not None and now < start <= now + policy.fallback_before


def is_report(
    diagnosis: Diagnosis,
    former: Cause | None,
    read_at: datetime | None,
    asked_at: datetime,
    now: datetime,
    policy: Policy,
) -> Cause | None:
    """What a look at `now` newly says of the event's service: that it fails, that a profile lapsed, or None.

    `former` is the cause that the look before found, which read the event at `read_at`. An event still
    pending once GRACE is over counts, too, since callers need not pass on notifications.
    """
    if diagnosis.state is not State.PENDING or diagnosis.cause is former:
        late = diagnosis.cause is Cause.GENERATING and now - asked_at >= policy.grace
        was_late = read_at is not None and read_at - asked_at >= policy.grace
        return Cause.PROVIDER_OUTAGE if late and not was_late else None
    if diagnosis.cause in HELD:
        return diagnosis.cause
    return None


def held_look(diagnosis: Diagnosis, start: datetime | None, now: datetime, policy: Policy) -> datetime:
    """When to look at a held event again, if nothing else is heard of it.

    Before its start it is looked at when a person should know (`escalate_before`), when the last resort is
    due, and once more just before. Otherwise after the longest interval.
    """
    soon = now + policy.recheck_min
    latest = now + policy.recheck_max
    if start is None or start <= now:
        return max(soon, latest)
    before = (policy.escalate_before, policy.fallback_before, 2 * policy.recheck_min)
    moments = [start - each for each in before if start - each >= soon]
    if diagnosis.last_resort and diagnosis.last_resort.at >= soon:
        moments.append(diagnosis.last_resort.at)
    return min(latest, max(soon, start), *moments)
