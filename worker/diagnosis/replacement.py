"""Which profile may replace a removed one: what a person chose, or the only one that fits by name too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.diagnosis.model import Chosen, Profile, Profiles, Request

#: What a person may choose besides a profile: the calendar's own conferencing, or Cronofy's choice.
WITHOUT_PROFILE = ("integrated", "default")
#: What Cronofy lets a user connect at an address of its own (reference §7).
CONNECTABLE = ("zoom", "ms_teams", "go_to")
#: How much of a name is shown: it comes from outside, and could be of any length.
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Replacement:
    """The profile to set instead, or None; `reason` says why, for people."""

    profile_id: str | None
    reason: str
    candidates: tuple[str, ...] = ()


def choose_among_connected(request: Request, profiles: Sequence[Profile], *, failing: bool) -> Profile | None:
    """The connected profile that the last resort sets, or None.

    Never one that the event asked for or was set on it, or that may be another person's. Of several, one of
    the event's provider comes first, but last if that provider is `failing`; then the provider's name and the
    id decide, so that the choice is the same at every look.
    """
    fitting = [
        p
        for p in profiles
        if p.connected
        and p.profile_id not in {*request.wrote, request.profile_id, request.first_asked}
        and _doubt(request, p) is None
    ]

    def order(profile: Profile) -> tuple[bool, str, str]:
        same = profile.provider_name is not None and profile.provider_name == request.provider_name
        return same if failing else not same, profile.provider_name or "", profile.profile_id

    return min(fitting, key=order, default=None)


def choose_replacement(request: Request, profiles: Sequence[Profile], policy: str) -> Replacement:
    """Choose among the still listed `profiles` by `policy` (contract §4, ``RECONCILER_REPLACEMENT``).

    Of the request, the removed profile's provider and name count, if the caller or an earlier look knew
    them, the account's email, and what was set on the event already: nothing is set twice, since we write
    rarely.
    """
    if policy == "never":
        return Replacement(None, "By policy, a person chooses the replacement.")
    provider_name = request.provider_name
    fitting = [p for p in profiles if p.connected]
    if policy == "same_provider":
        if provider_name is None:
            return Replacement(
                None,
                "The removed profile's provider is unknown, so no replacement can be chosen.",
                tuple(p.profile_id for p in fitting),
            )
        fitting = [p for p in fitting if p.provider_name == provider_name]
    kind = f"connected {provider_name} profile" if policy == "same_provider" else "connected profile"
    candidates = tuple(p.profile_id for p in fitting)
    if not fitting:
        return Replacement(None, f"The account has no other {kind}.")
    if len(fitting) > 1:
        return Replacement(
            None, f"The account has {len(fitting)} {kind}s; a person has to choose.", candidates
        )
    [only] = fitting
    if only.profile_id in request.wrote:
        reason = f"The only {kind}, {only.profile_id}, was already tried on this event."
        return Replacement(None, reason, candidates)
    reason = f"The account's only other {kind} is {only.profile_id}"
    doubt = _doubt(request, only)
    if doubt:
        return Replacement(None, f"{reason}, {doubt}; a person has to choose.", candidates)
    return Replacement(only.profile_id, f"{reason}.", candidates)


def service_to_connect(request: Request, profiles: Sequence[Profile], policy: str) -> str | None:
    """The service that the user could connect by our link; None if a profile of theirs may be there already.

    Or if the policy leaves it to a person, or the service is unknown or not one that Cronofy connects so.
    """
    service = request.provider_name
    if policy == "never" or service not in CONNECTABLE:
        return None
    fitting = [
        p for p in profiles if p.connected and (policy == "any_connected" or p.provider_name == service)
    ]
    return None if any(_doubt(request, profile) is None for profile in fitting) else service


def possible_choices(profiles: Profiles, calendar_id: str | None = None) -> tuple[str, ...]:
    """What a person may choose now for events of the calendar, or of any calendar if that is None."""
    connected = [profile.profile_id for profile in profiles.conferencing if profile.connected]
    calendars = [c for c in profiles.calendars if calendar_id in (None, c.calendar_id)]
    none_has_it = bool(calendars) and all(c.integrated_available is False for c in calendars)
    return (*connected, *(each for each in WITHOUT_PROFILE if each != "integrated" or not none_has_it))


def chosen_replacement(chosen: Chosen, request: Request, profiles: Profiles) -> Replacement:
    """The profile that a person chose, if it may be set now."""
    to, possible = chosen.to_profile_id, possible_choices(profiles, request.calendar_id)
    said = f"{to}, which {chosen.by} chose"
    if to in request.wrote:
        return Replacement(None, f"{said}, was already tried on this event.", possible)
    if to not in possible:
        return Replacement(None, f"{said}, is not available now.", possible)
    return Replacement(to, f"{said}, takes its place.", possible)


def _doubt(request: Request, candidate: Profile) -> str | None:
    """Why the candidate may be another person's than the removed profile, or None if nothing suggests it.

    Several people's profiles can be on one account, when accounts are linked: its id alone shows nothing.
    """
    name, removed = (candidate.name or "").strip(), (request.profile_name or "").strip()
    email = (request.account_email or "").strip()
    if name and name.casefold() == (removed or email).casefold():
        return None
    called = f'named "{_shown(name)}"' if name else "which has no name"
    if removed:
        return f'{called}, while the removed one was named "{_shown(removed)}"'
    if not name:
        return f"{called}; the removed one's was never seen"
    known = "is not" if email else "is not known to be"
    return f"{called}; the removed one's name was never seen, and this {known} the account's email address"


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
