"""Sets another profile on events whose own was removed: intent first, then the write, then its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from worker.cronofy.callbacks import Callbacks
from worker.cronofy.client import Session, Update
from worker.cronofy.errors import PUT_OFF, CronofyError, GrantRefused, Refused
from worker.diagnosis.model import Policy, Profiles, Remedy
from worker.ledger.leases import Change, EventChange, Lease
from worker.ledger.ledger import Ledger
from worker.ledger.packing import pack_event, stored_as
from worker.ledger.records import Stored, Write
from worker.reconcile.lines import ids
from worker.reconcile.parking import is_blameless
from worker.reconcile.update import IncompleteRecord, update_body
from worker.reconcile.verdict import (
    Verdict,
    escalate_once,
    intend,
    reassigned,
    write_put_off,
    write_refused,
    write_unanswered,
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Planned:
    """One update: the verdict with the intent in it, and the writes that were there before."""

    verdict: Verdict
    to_profile_id: str
    update: Update
    earlier: Mapping[str, Write]


def reassign(
    ledger: Ledger,
    session: Session,
    lease: Lease,
    verdicts: Sequence[Verdict],
    profiles: Profiles | None,
    policy: Policy,
    callbacks: Callbacks | None = None,
) -> tuple[list[Verdict], list[tuple[Stored, Exception]]]:
    """Carry out the verdicts that call for another profile; the others pass unchanged.

    Each event was seen pending in this look's read. A verdict whose event was tracked anew or
    untracked meanwhile is left out. Also returns the events for which no update could be made, and what
    they raised. Raises LeaseLost before anything is written.
    """
    kept: list[Verdict] = []
    blamed: list[tuple[Stored, Exception]] = []
    planned: list[_Planned] = []
    for verdict in verdicts:
        to_profile_id = verdict.diagnosis.detail.get("to_profile_id")
        if (
            verdict.diagnosis.remedy is not Remedy.REASSIGN_PROFILE
            or verdict.seen is None
            or not isinstance(to_profile_id, str)
        ):
            kept.append(verdict)
            continue
        try:
            callback = callbacks.of(lease.sub, *verdict.key) if callbacks else None
            body = update_body(verdict.after, verdict.seen, to_profile_id, callback)
        except IncompleteRecord as lack:
            kept.append(escalate_once(verdict, lease.sub, str(lack), lease.now, "incomplete"))
            continue
        except Exception as fault:
            if is_blameless(fault):
                raise
            blamed.append((verdict.before, fault))
            continue
        intended = intend(verdict, to_profile_id, lease.now, subscribed=callback is not None)
        update = Update(verdict.after.key, body)
        planned.append(_Planned(intended, to_profile_id, update, verdict.before.event.writes))
    if planned:
        planned = _record_intents(ledger, lease, planned)
    if planned:
        errors = session.update([plan.update for plan in planned])
        for plan, error in zip(planned, errors, strict=True):
            kept.append(_answered(plan, lease, error, profiles, policy))
    return kept, blamed


def _record_intents(ledger: Ledger, lease: Lease, planned: Sequence[_Planned]) -> list[_Planned]:
    """Write down which updates are about to be sent; only the writes change, the looks stay as they were."""
    changes = [
        EventChange(plan.verdict.before, replace(plan.verdict.before.event, writes=plan.verdict.after.writes))
        for plan in planned
    ]
    changed = ledger.commit(lease, Change(changes), done=False)
    recorded = []
    for plan, change in zip(planned, changes, strict=True):
        if plan.verdict.before.event.key not in changed:
            before = stored_as(change.after, pack_event(change.after))
            recorded.append(replace(plan, verdict=replace(plan.verdict, before=before)))
    return recorded


def _answered(
    plan: _Planned, lease: Lease, error: CronofyError | None, profiles: Profiles | None, policy: Policy
) -> Verdict:
    verdict, to_profile_id = plan.verdict, plan.to_profile_id
    about = {**ids(lease.sub, verdict), "profile_id": to_profile_id}
    if error is None:
        log.info("update.accepted", **about, from_profile_id=verdict.after.profile_id)
        profile = profiles.conferencing_profile(to_profile_id) if profiles else None
        provider_name = profile.provider_name if profile else None
        return reassigned(verdict, lease.sub, to_profile_id, provider_name, lease.now, policy)
    if isinstance(error, (*PUT_OFF, GrantRefused)):
        # It was not sent, for reasons that are not the event's.
        log.info("update.put_off", **about, reason=error.reason)
        return write_put_off(verdict, plan.earlier, lease.now)
    log.warning("update.failed", **about, reason=error.reason, status=error.status)
    if isinstance(error, Refused):
        return write_refused(verdict, lease.sub, to_profile_id, error.reason, lease.now)
    return write_unanswered(verdict, error.reason, lease.now, policy)
