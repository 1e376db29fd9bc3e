"""Which profile may replace a removed one: the only one that fits, or the one that a person chose."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from worker.diagnosis.model import Chosen, Profile, Profiles

#: What a person may choose besides a profile: the calendar's own conferencing, or Cronofy's choice.
WITHOUT_PROFILE = ("integrated", "default")


@dataclass(frozen=True, slots=True)
class Replacement:
    """The profile to set instead, or None; `reason` says why, for people."""

    profile_id: str | None
    reason: str
    candidates: tuple[str, ...] = ()


def choose_replacement(
    provider_name: str | None,
    profiles: Sequence[Profile],
    wrote: Collection[str],
    policy: str,
) -> Replacement:
    """Choose among the still listed `profiles` by `policy` (contract §4, ``RECONCILER_REPLACEMENT``).

    `provider_name` is the removed profile's, if the caller or an earlier look knew it. `wrote` has the
    profiles already set on the event: none is set twice, since we write rarely.
    """
    if policy == "never":
        return Replacement(None, "By policy, a person chooses the replacement.")
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
    only = candidates[0]
    if only in wrote:
        return Replacement(None, f"The only {kind}, {only}, was already tried on this event.", candidates)
    return Replacement(only, f"The account's only other {kind} is {only}.", candidates)


def possible_choices(profiles: Profiles, calendar_id: str | None = None) -> tuple[str, ...]:
    """What a person may choose now for events of the calendar, or of any calendar if that is None."""
    connected = [profile.profile_id for profile in profiles.conferencing if profile.connected]
    calendars = [c for c in profiles.calendars if calendar_id in (None, c.calendar_id)]
    none_has_it = bool(calendars) and all(c.integrated_available is False for c in calendars)
    return (*connected, *(each for each in WITHOUT_PROFILE if each != "integrated" or not none_has_it))


def chosen_replacement(
    chosen: Chosen, profiles: Profiles, calendar_id: str, wrote: Collection[str]
) -> Replacement:
    """The profile that a person chose, if it may be set now on an event that had `wrote` set already."""
    to, possible = chosen.to_profile_id, possible_choices(profiles, calendar_id)
    if to in wrote:
        return Replacement(None, f"{chosen.by} chose {to}, which was already tried on this event.", possible)
    if to not in possible:
        return Replacement(None, f"{chosen.by} chose {to}, which is not available now.", possible)
    return Replacement(to, f"{chosen.by} chose {to} instead.", possible)
