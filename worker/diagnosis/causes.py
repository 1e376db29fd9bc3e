"""Diagnosis: why an event has no conferencing, and what to do about it.

Pure: no I/O, no clock, no store. Like the contract's table (§2), the first row that fits decides.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worker.diagnosis.fallback import with_last_resort
from worker.diagnosis.model import (
    Cause,
    Certainty,
    Diagnosis,
    Interaction,
    Missing,
    Observation,
    Policy,
    Profile,
    Profiles,
    Remedy,
    Request,
    Seen,
    Sighting,
    State,
    TokenOwed,
    Unauthorized,
)
from worker.diagnosis.replacement import (
    choose_replacement,
    chosen_replacement,
    possible_choices,
    service_to_connect,
)
from worker.diagnosis.times import EventTime

#: Values of ``profile_id`` that leave the choice to Cronofy or the calendar (reference §3).
INDIRECT = frozenset({"default", "integrated", "explicit", "none"})

_LICENCE = "The licence or setting has to be fixed at the provider."


def diagnose(request: Request, observation: Observation, now: datetime, policy: Policy) -> Diagnosis:
    """Return why the event has no link at `now` (aware), and what to do about it.

    Every input has an answer. Errors prove nothing, so an observation contains none. No remedy acts on an
    event that has its join URL.
    """
    sighting = observation.sighting
    if isinstance(sighting, Unauthorized):
        return _pending(
            Cause.ACCOUNT_UNAUTHORIZED,
            Remedy.CLOSE,
            sighting.reason,
            "Nothing can be checked until the account is connected again.",
        )
    if isinstance(sighting, TokenOwed):
        return _without_token(request, sighting.since, now, policy)
    if isinstance(sighting, Missing):
        return _missing(request, observation.profiles, now, policy)
    decided = by_sight(sighting)
    if decided is not None:
        return decided
    start = _start(request, sighting)
    if start is not None and start.instant <= now:
        return _closed(
            Cause.EVENT_IN_PAST,
            Certainty.CERTAIN,
            f"The start of the event, {_shown(start.local)}, has passed.",
            "Cronofy only creates conferencing for future events.",
        )
    found = _diagnose_pending(request, sighting, observation, now, policy)
    return with_last_resort(found, request, sighting, observation, now, policy)


def by_sight(sighting: Sighting) -> Diagnosis | None:
    """The diagnosis if the event itself shows it, whatever was asked for: it is gone, or has its link."""
    if not isinstance(sighting, Seen):
        return None
    if sighting.deleted:
        return _closed(Cause.EVENT_GONE, Certainty.CERTAIN, "Cronofy shows the event as deleted.")
    if sighting.cancelled:
        return _closed(Cause.EVENT_GONE, Certainty.CERTAIN, "Cronofy shows the event as cancelled.")
    return _assigned(sighting) if sighting.join_url else None


def _missing(request: Request, profiles: Profiles | None, now: datetime, policy: Policy) -> Diagnosis:
    """Why two reads did not show the event: it is gone, unless its calendar cannot be read."""
    unseen = "Two reads, the second one wider, did not find the event, even among deleted ones."
    if profiles is None:
        return _pending(
            Cause.GENERATING,
            Remedy.WAIT,
            unseen,
            "UserInfo has to say whether its calendar is connected.",
            certainty=Certainty.LIKELY,
        )
    if profiles.reaches(request.calendar_id):
        if request.lacked_calendar and now - request.asked_at < policy.grace:
            return _pending(
                Cause.GENERATING,
                Remedy.WAIT,
                unseen,
                f"Its calendar was connected again at {_shown(request.asked_at)}; reads may not show it yet.",
                certainty=Certainty.LIKELY,
                calendar_id=request.calendar_id,
            )
        if request.series:
            # It is gone only if a read says so.
            overdue = is_overdue(request.asked_at, None, now, policy)
            return _pending(
                Cause.UNEXPLAINED if overdue else Cause.GENERATING,
                Remedy.ESCALATE if overdue else Remedy.WAIT,
                unseen,
                "It is a series, whose occurrences may be shown under ids of their own.",
                certainty=Certainty.LIKELY,
            )
        return _closed(Cause.EVENT_GONE, Certainty.LIKELY, unseen)
    if request.start is not None and request.start.instant <= now and not request.series:
        return _closed(
            Cause.EVENT_IN_PAST,
            Certainty.LIKELY,
            unseen,
            f"By its record, its start, {_shown(request.start.local)}, has passed.",
        )
    calendar = profiles.calendar(request.calendar_id)
    if calendar is not None:
        return _expired(calendar.profile, Certainty.LIKELY, (unseen,), request.calendar_id)
    return _pending(
        Cause.CREDENTIALS_EXPIRED,
        Remedy.ESCALATE,
        unseen,
        "UserInfo does not list its calendar: the calendar's profile was probably revoked.",
        "The user has to connect the calendar again, and UserInfo gives no link for that.",
        certainty=Certainty.LIKELY,
        calendar_id=request.calendar_id,
    )


def is_overdue(asked_at: datetime, start: datetime | None, now: datetime, policy: Policy) -> bool:
    """Whether a person should know that an event still has no conferencing (contract §2, ``unexplained``).

    True if it has waited too long, or is past GRACE and starts soon.
    """
    age = now - asked_at
    near = start is not None and start - now < policy.escalate_before
    return age > policy.escalate_after or (age >= policy.grace and near)


def _without_token(request: Request, since: datetime, now: datetime, policy: Policy) -> Diagnosis:
    """The application owes an access token; a person is told if that lasts until the event is overdue."""
    evidence = [
        f"The account's access token lapsed, or Cronofy refused it, at {_shown(since)}.",
        "Nothing can be read until the application gives another one (conferencing.connect_account).",
    ]
    remedy, start = Remedy.WAIT, request.start
    waiting, instant = max(since, request.asked_at), start.instant if start else None
    if (instant is None or instant > now) and is_overdue(waiting, instant, now, policy):
        remedy = Remedy.ESCALATE
        evidence.append(
            f"It was asked for one, and has given none for over {_length(policy.escalate_after)}."
            if start is None or now - waiting > policy.escalate_after
            else f"The event starts at {_shown(start.local)}."
        )
    return _pending(Cause.ACCOUNT_UNAUTHORIZED, remedy, *evidence, since=since.isoformat())


def _diagnose_pending(
    request: Request, seen: Seen, observation: Observation, now: datetime, policy: Policy
) -> Diagnosis:
    profiles, profile_id = observation.profiles, request.profile_id
    shown = () if seen.pending else ("Conferencing was asked for, but Cronofy shows none on the event.",)
    if profiles is not None and profile_id and profile_id not in INDIRECT:
        # The event asked for a profile by id, so UserInfo says for certain whether it is at fault.
        profile = profiles.conferencing_profile(profile_id)
        if profile is None:
            return _removed(request, profile_id, profiles, observation.unwritable, policy, shown)
        if not profile.connected:
            return _expired(profile, Certainty.CERTAIN, shown)
    calendar = profiles.calendar(request.calendar_id) if profiles is not None else None
    if calendar is not None and not calendar.profile.connected:
        return _expired(calendar.profile, Certainty.LIKELY, shown, calendar.calendar_id)
    notice, overdue = request.notice, _overdue(request, seen, now, policy)
    # Neither an unknown subtype nor a profile_missing that UserInfo does not confirm proves anything.
    if notice is not None and notice.interaction is Interaction.FAILING:
        told = f"Cronofy notified us at {_shown(notice.at)} that"
        if notice.subtype is None:
            said = f"{told} the conferencing service is failing; it keeps trying."
            return _outage(notice.at, Certainty.CERTAIN, overdue, *shown, said)
        if notice.subtype == "missing_meeting_url":
            return _pending(
                Cause.MISSING_MEETING_URL,
                Remedy.ESCALATE,
                *shown,
                f"{told} the calendar's own service returned no meeting URL.",
                _LICENCE,
                since=notice.at.isoformat(),
            )
    late = now - request.asked_at >= policy.grace
    # We cannot tell which profile `default` means, so we blame none: see `_about_profile`.
    if late and profile_id == "integrated" and calendar and calendar.integrated_available is False:
        return _pending(
            Cause.MISSING_MEETING_URL,
            Remedy.ESCALATE,
            *shown,
            "The event asked for the calendar's own conferencing, which UserInfo says is unavailable.",
            _LICENCE,
            certainty=Certainty.LIKELY,
        )
    failing = observation.failing_since
    if failing is not None:
        # Other events that asked for the same service get no link either.
        said = (
            f"The {request.provider_name or 'conferencing'} service has given no link to anybody here since "
            f"{_shown(failing)}; Cronofy keeps trying."
        )
        return _outage(failing, Certainty.LIKELY, overdue, *shown, said)
    return _nothing_wrong(request, profiles, overdue, now, policy, shown)


def _removed(
    request: Request,
    profile_id: str,
    profiles: Profiles,
    unwritable: str | None,
    policy: Policy,
    shown: tuple[str, ...],
) -> Diagnosis:
    """UserInfo does not list the profile that the event asked for any more."""
    notified = _subtype(request) == "profile_missing"
    evidence = [*shown, f"The event asked for profile {profile_id}, which UserInfo no longer lists."]
    if not profiles.listed:
        evidence.append("UserInfo lists no conferencing profiles for this account.")
    if notified:
        evidence.append("Cronofy notified us that the profile is missing.")
    replacement = (
        chosen_replacement(request.chosen, request, profiles)
        if request.chosen
        else choose_replacement(request, profiles.conferencing, policy.replacement)
    )
    evidence.append(replacement.reason)
    remedy, service = Remedy.ESCALATE, None
    if replacement.profile_id and unwritable:
        evidence.append(unwritable)
    elif replacement.profile_id:
        remedy = Remedy.REASSIGN_PROFILE
    elif not (request.chosen or unwritable):
        service = service_to_connect(request, profiles.conferencing, policy.replacement)
    if service and policy.connect:
        remedy = Remedy.CONNECT_EMAIL
        evidence.append(f"The user can connect {service}, and is asked to by email.")
    elif service:
        evidence.append(f"With RECONCILER_WEBHOOK_URL set, the user would be asked to connect {service}.")
    return _pending(
        Cause.PROFILE_REMOVED,
        remedy,
        *evidence,
        certainty=Certainty.CERTAIN if profiles.listed or notified else Certainty.LIKELY,
        profile_id=profile_id,
        to_profile_id=replacement.profile_id,
        candidates=list(replacement.candidates),
        provider_name=request.provider_name,
        possible=list(possible_choices(profiles, request.calendar_id)),
        chosen_by=request.chosen.by if request.chosen else None,
    )


def _outage(since: datetime, certainty: Certainty, overdue: str | None, *evidence: str) -> Diagnosis:
    """The service is failing. Nobody says when that is over: it must not keep us silent until the start."""
    return _pending(
        Cause.PROVIDER_OUTAGE,
        Remedy.ESCALATE if overdue else Remedy.WAIT,
        *evidence,
        *([f"{overdue}."] if overdue else []),
        certainty=certainty,
        since=since.isoformat(),
    )


def _nothing_wrong(
    request: Request,
    profiles: Profiles | None,
    overdue: str | None,
    now: datetime,
    policy: Policy,
    shown: tuple[str, ...],
) -> Diagnosis:
    """Nothing is visibly wrong: normal at first, then delayed, then unexplained."""
    age = now - request.asked_at
    evidence = [
        *shown,
        f"Conferencing has been pending for {_length(age)}.",
        *_about_profile(request, profiles),
    ]
    if profiles is not None and _subtype(request) is not None:
        evidence.append(f'Cronofy notified us of "{_subtype(request)}", which UserInfo does not confirm.')
    if overdue:
        if profiles is not None and profiles.calendar(request.calendar_id) is None:
            evidence.append("UserInfo does not list the event's calendar.")
        evidence.append(overdue + (" with no visible reason." if age > policy.escalate_after else "."))
        return _pending(Cause.UNEXPLAINED, Remedy.ESCALATE, *evidence, certainty=Certainty.LIKELY)
    certain = age < policy.grace and request.profile_id not in INDIRECT and request.profile_id is not None
    return _pending(
        Cause.GENERATING,
        Remedy.WAIT,
        *evidence,
        certainty=Certainty.CERTAIN if certain else Certainty.LIKELY,
    )


def _overdue(request: Request, seen: Seen, now: datetime, policy: Policy) -> str | None:
    """Why a person should know that the event is still pending, without a full stop; None if not yet."""
    start = _start(request, seen)
    if not is_overdue(request.asked_at, start.instant if start else None, now, policy):
        return None
    if start is None or now - request.asked_at > policy.escalate_after:
        return f"It has been pending for over {_length(policy.escalate_after)}"
    return f"It starts in {_length(start.instant - now)}"


def _about_profile(request: Request, profiles: Profiles | None) -> list[str]:
    if profiles is None:
        return []
    if request.profile_id and request.profile_id not in INDIRECT:
        return [f"Its profile {request.profile_id} is connected."]
    if request.profile_id in ("explicit", "none"):
        return [f'The event asked for "{request.profile_id}", which uses no profile.']
    asked = f'asked for "{request.profile_id}"' if request.profile_id else "has no profile on record"
    lines = [f"The event {asked}, so we cannot tell which profile it uses."]
    lapsed = [profile.profile_id for profile in profiles.conferencing if not profile.connected]
    if lapsed:
        lines.append(f"Disconnected, and possibly the cause: {', '.join(lapsed)}.")
    return lines


def _expired(
    profile: Profile, certainty: Certainty, shown: tuple[str, ...], calendar_id: str | None = None
) -> Diagnosis:
    """The profile is disconnected: the event's own, or that of its calendar `calendar_id`."""
    service = profile.provider_name or ("calendar" if calendar_id else "conferencing")
    which = f"{profile.profile_id} of the event's calendar" if calendar_id else profile.profile_id
    return _pending(
        Cause.CREDENTIALS_EXPIRED,
        Remedy.RELINK_EMAIL,
        *shown,
        f"The {service} profile {which} is disconnected: its credentials have expired.",
        "Cronofy probably cannot use the calendar until the user has reconnected the profile."
        if calendar_id
        else "Cronofy creates the conferencing once the user has reconnected the profile.",
        certainty=certainty,
        profile_id=profile.profile_id,
        provider_name=profile.provider_name,
        calendar_id=calendar_id,
    )


def _assigned(seen: Seen) -> Diagnosis:
    detail = {"join_url": seen.join_url, "provider_name": seen.provider_name}
    return Diagnosis(
        state=State.ASSIGNED,
        cause=None,
        certainty=Certainty.CERTAIN,
        evidence=("The event has its conferencing link.",),
        remedy=Remedy.NONE,
        detail=detail,
        join_url=seen.join_url,
    )


def _pending(
    cause: Cause,
    remedy: Remedy,
    *evidence: str,
    certainty: Certainty = Certainty.CERTAIN,
    **detail: Any,
) -> Diagnosis:
    known = {name: value for name, value in detail.items() if value is not None}
    return Diagnosis(State.PENDING, cause, certainty, evidence, remedy, known)


def _closed(cause: Cause, certainty: Certainty, *evidence: str) -> Diagnosis:
    return Diagnosis(State.CLOSED, cause, certainty, evidence, Remedy.CLOSE)


def _start(request: Request, seen: Seen) -> EventTime | None:
    """When the event starts. The record of a series has only a former occurrence."""
    return seen.start if seen.series else seen.start or request.start


def _subtype(request: Request) -> str | None:
    return request.notice.subtype if request.notice else None


def _shown(moment: Any) -> str:
    if isinstance(moment, datetime):
        return moment.strftime("%Y-%m-%d %H:%M %Z")
    return str(moment)


def _length(duration: timedelta) -> str:
    """A duration in whole largest units."""
    seconds = max(0, int(duration.total_seconds()))
    units = (("day", 86_400), ("hour", 3_600), ("minute", 60))
    unit, size = next((each for each in units if seconds >= each[1]), ("second", 1))
    return f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"
