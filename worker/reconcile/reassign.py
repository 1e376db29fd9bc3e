"""Sets another profile, or the last resort, on events: intent first, then the write, then its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from worker.cronofy.callbacks import Callbacks
from worker.cronofy.client import Session, Update
from worker.cronofy.errors import PUT_OFF, CronofyError, GrantRefused, NotFound, Refused, TokenNeeded
from worker.diagnosis.model import Profiles, Rung
from worker.ledger.leases import Change, EventChange, Lease
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey, Write, to_ms
from worker.reconcile.lines import event_ids
from worker.reconcile.rooms import Rooms
from worker.reconcile.update import update_body
from worker.reconcile.verdict import Judged, WriteEnd, WriteResult, written

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PlannedUpdate:
    """An update about to be sent."""

    judged: Judged
    update: Update
    #: Changes only the writes; the event's looks stay as planned.
    intent: EventChange
    #: Its result until its answer is known.
    unanswered: WriteResult


def plan_update(
    judged: Judged,
    sub: str,
    now: datetime,
    callbacks: Callbacks | None = None,
    rooms: Rooms | None = None,
) -> PlannedUpdate:
    """The update that sets the event's replacement profile, or the last resort.

    `callbacks` makes the address for notifications about the conference, `rooms` that of the company's room.
    """
    key, to_profile_id, rung = judged.key, judged.replacement, judged.rung
    if to_profile_id is None or judged.seen is None:
        raise ValueError("This diagnosis does not call for another profile.")
    callback = callbacks.of(sub, key.calendar_id, key.event_id) if callbacks else None
    body = update_body(judged.event, judged.seen, to_profile_id, callback)
    join_url = None
    if rung is Rung.EXPLICIT:
        if rooms is None:
            raise ValueError("The last resort is the company's own room, but there is no address for it.")
        join_url = rooms.link(sub, key)
        body["conferencing"] = {
            "profile_id": to_profile_id,
            "provider_description": rooms.host,
            "join_url": join_url,
        }
    write, before = Write(to_ms(now), subscribed=callback is not None), judged.before
    writes = written(before.event.writes, to_profile_id, write, rung)
    intent = EventChange(before, replace(before.event, writes=writes))
    # That packs the record now, so that a failure counts against this event.
    stored = intent.stored
    unanswered = WriteResult(WriteEnd.UNANSWERED, to_profile_id, stored, write, rung=rung, join_url=join_url)
    return PlannedUpdate(judged, Update(key, body), intent, unanswered)


def reassign(
    ledger: Ledger,
    session: Session,
    lease: Lease,
    planned: Sequence[PlannedUpdate],
    profiles: Profiles | None,
) -> dict[EventKey, WriteResult]:
    """Record each update's intent in the ledger, then send them.

    Raises LeaseLost before anything is sent.
    """
    changed = ledger.commit(lease, Change([plan.intent for plan in planned]), done=False).changed
    results = {
        plan.judged.key: replace(plan.unanswered, end=WriteEnd.CHANGED, before=plan.judged.before)
        for plan in planned
    }
    sent = [plan for plan in planned if plan.judged.key not in changed]
    errors = session.update([plan.update for plan in sent]) if sent else []
    for plan, error in zip(sent, errors, strict=True):
        results[plan.judged.key] = _result(lease, plan, error, profiles)
    return results


def _result(
    lease: Lease, plan: PlannedUpdate, error: CronofyError | None, profiles: Profiles | None
) -> WriteResult:
    result = plan.unanswered
    to, write = result.to_profile_id, result.write
    about = {**event_ids(lease.sub, plan.judged.key), "profile_id": to}
    if error is None:
        log.info("update.accepted", **about, from_profile_id=plan.judged.event.profile_id)
        profile = profiles.conferencing_profile(to) if profiles else None
        provider_name = profile.provider_name if profile else None
        accepted = replace(write, accepted=True)
        return replace(result, end=WriteEnd.ACCEPTED, write=accepted, provider_name=provider_name)
    if isinstance(error, (*PUT_OFF, GrantRefused, TokenNeeded)):
        log.info("update.put_off", **about, reason=error.reason)
        return replace(result, end=WriteEnd.PUT_OFF)
    log.warning("update.failed", **about, reason=error.reason, status=error.status)
    result = replace(result, reason=error.reason)
    if isinstance(error, NotFound):
        return replace(result, end=WriteEnd.NOT_FOUND)
    if isinstance(error, Refused):
        return replace(result, end=WriteEnd.REFUSED, write=Write(write.at, refused=error.reason))
    return result
