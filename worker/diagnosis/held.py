"""What many events wait for together: while it lasts, a few are looked at for all of them. Pure.

A service that fails, or whose profiles lapse in number, is one fact about a data centre: an outage. Enough
reports of it with no link in between begin it (``common.lua``). Its events are held: they get only the looks
that no other event can make for them. Canaries, which the sweep picks, show when it is over.
"""

from __future__ import annotations

from datetime import datetime

from worker.diagnosis.model import Cause, Diagnosis, Policy, State

#: What many events may wait for together, if they ask for the same service.
HELD = (Cause.PROVIDER_OUTAGE, Cause.CREDENTIALS_EXPIRED)


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
