"""The last resort: what an event gets that is still pending shortly before its start. Pure.

``RECONCILER_FALLBACK`` lists its rungs (contract §4 and §6). Each is set at most once on an event, by the
rules of every write.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from worker.diagnosis.model import (
    Cause,
    Diagnosis,
    LastResort,
    Observation,
    Policy,
    Profiles,
    Remedy,
    Request,
    Rung,
    Seen,
)
from worker.diagnosis.replacement import choose_among_connected
from worker.diagnosis.schedule import is_at_hand


def with_last_resort(
    diagnosis: Diagnosis,
    request: Request,
    seen: Seen,
    observation: Observation,
    now: datetime,
    policy: Policy,
) -> Diagnosis:
    """The `diagnosis` of an event just `seen` pending, with the rung that comes next and when.

    Once it is time, that rung is the remedy, whatever the cause. Without UserInfo nothing is decided,
    and what may not be written gets nothing.
    """
    start, profiles = seen.start or request.start, observation.profiles
    if not policy.fallback or start is None or profiles is None:
        return diagnosis
    if observation.unwritable:
        near = is_at_hand(start.instant, now, policy) and observation.unwritable not in diagnosis.evidence
        return (
            replace(diagnosis, evidence=(*diagnosis.evidence, observation.unwritable)) if near else diagnosis
        )
    # Later than that, no look is sure to come after a link that has to be made first.
    hurry = start.instant - 2 * policy.recheck_min
    found = _next_rung(diagnosis.cause, request, profiles, policy, in_a_hurry=now >= hurry)
    if found is None:
        return diagnosis
    at = start.instant - policy.fallback_before
    # The link may yet come on its own, or by the other profile; but not so late that a rung has no time.
    if diagnosis.remedy is Remedy.REASSIGN_PROFILE:
        at = max(at, hurry)
    elif diagnosis.cause is Cause.GENERATING:
        at = max(at, min(request.asked_at + policy.grace, hurry))
    rung, to_profile_id, reason = found
    last_resort = LastResort(rung, to_profile_id, at)
    if now < at:
        return replace(diagnosis, last_resort=last_resort)
    minutes = max(1, round((start.instant - now).total_seconds() / 60))
    evidence = f"It starts in {minutes} minute{'' if minutes == 1 else 's'}, so the last resort is {reason}."
    return replace(
        diagnosis,
        remedy=Remedy.FALLBACK,
        evidence=(*diagnosis.evidence, evidence),
        last_resort=last_resort,
    )


def is_room(join_url: str | None, policy: Policy) -> bool:
    """Whether a link is that of one of the company's own rooms."""
    before, found, after = (policy.fallback_url or "").partition("{key}")
    return bool(found and join_url and join_url.startswith(before) and join_url.endswith(after))


def _next_rung(
    cause: Cause | None, request: Request, profiles: Profiles, policy: Policy, *, in_a_hurry: bool
) -> tuple[Rung, str, str] | None:
    """The first rung that is left and fits: what it sets, and what that is, for people."""
    left: Collection[Rung] = [rung for rung in policy.fallback if not {rung.mark, rung.value} & request.wrote]
    if in_a_hurry and Rung.EXPLICIT in left:
        # Only this link needs no time to be made.
        left = (Rung.EXPLICIT,)
    calendar = profiles.calendar(request.calendar_id)
    has_own = calendar and calendar.profile.connected and calendar.integrated_available
    for rung in left:
        if rung is Rung.EXPLICIT:
            return rung, rung.value, "the company's own room"
        if rung is Rung.INTEGRATED and has_own and rung not in (request.profile_id, request.first_asked):
            return rung, rung.value, "the calendar's own conferencing, which UserInfo says it has"
        if rung is Rung.ANY_CONNECTED:
            failing = cause is Cause.PROVIDER_OUTAGE
            chosen = choose_among_connected(request, profiles.conferencing, failing=failing)
            if chosen:
                service = chosen.provider_name or "conferencing"
                return rung, chosen.profile_id, f"the connected {service} profile {chosen.profile_id}"
    return None
