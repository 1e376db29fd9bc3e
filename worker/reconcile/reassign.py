"""Sets another profile on events whose own was removed: intent first, then the write, then its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from worker.cronofy.client import Session, Update
from worker.cronofy.errors import ClientRefused, CronofyError, GrantRefused, OutOfBudget, RateLimited, Refused
from worker.diagnosis.model import Policy, Profiles, Remedy
from worker.ledger.ledger import Change, EventChange, Lease, Ledger
from worker.ledger.records import Stored, fingerprint, pack_event
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

#: The write was not carried out, for reasons that are not the event's.
NOT_SENT = (OutOfBudget, RateLimited, ClientRefused, GrantRefused)


def reassign(
    ledger: Ledger,
    session: Session,
    lease: Lease,
    verdicts: Sequence[Verdict],
    profiles: Profiles | None,
    policy: Policy,
) -> list[Verdict]:
    """Carry out the verdicts that call for another profile; the others pass unchanged.

    Each event was seen pending in this look's read. A verdict whose event was tracked anew or
    untracked meanwhile is left out. Raises LeaseLost before anything is written.
    """
    kept: list[Verdict] = []
    updates: list[tuple[Verdict, str, Update]] = []
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
            body = update_body(verdict.after, verdict.seen, to_profile_id)
        except IncompleteRecord as lack:
            kept.append(escalate_once(verdict, lease.sub, str(lack), lease.now, "incomplete"))
            continue
        updates.append(
            (intend(verdict, to_profile_id, lease.now), to_profile_id, Update(verdict.after.key, body))
        )
    if not updates:
        return kept
    updates = _record_intents(ledger, lease, updates)
    errors = session.update([update for _, _, update in updates]) if updates else []
    for (verdict, to_profile_id, _), error in zip(updates, errors, strict=True):
        kept.append(_answered(verdict, lease, to_profile_id, error, profiles, policy))
    return kept


def _record_intents(
    ledger: Ledger, lease: Lease, updates: Sequence[tuple[Verdict, str, Update]]
) -> list[tuple[Verdict, str, Update]]:
    """Write down which updates are about to be sent; only the writes change, the looks stay as they were."""
    changes = [
        EventChange(verdict.before, replace(verdict.before.event, writes=verdict.after.writes))
        for verdict, _, _ in updates
    ]
    changed = ledger.commit(lease, Change(changes), done=False)
    return [
        (replace(verdict, before=Stored(change.after, fingerprint(pack_event(change.after)))), to, update)
        for (verdict, to, update), change in zip(updates, changes, strict=True)
        if verdict.before.event.key not in changed
    ]


def _answered(
    verdict: Verdict,
    lease: Lease,
    to_profile_id: str,
    error: CronofyError | None,
    profiles: Profiles | None,
    policy: Policy,
) -> Verdict:
    if error is None:
        profile = profiles.conferencing_profile(to_profile_id) if profiles else None
        provider_name = profile.provider_name if profile else None
        return reassigned(verdict, lease.sub, to_profile_id, provider_name, lease.now, policy)
    if isinstance(error, NOT_SENT):
        return write_put_off(verdict, lease.now)
    if isinstance(error, Refused):
        return write_refused(verdict, lease.sub, to_profile_id, error.reason, lease.now)
    return write_unanswered(verdict, error.reason, lease.now, policy)
