"""Which profile may replace a removed one: only ever when exactly one fits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from worker.diagnosis.model import Profile, Request


@dataclass(frozen=True, slots=True)
class Replacement:
    """The profile to set instead, or None; `reason` says why, for people."""

    profile_id: str | None
    reason: str
    candidates: tuple[str, ...] = ()


def choose_among_connected(
    request: Request, profiles: Sequence[Profile], *, failing: bool = False
) -> Profile | None:
    """The connected profile that the last resort sets, or None: never the event's own, nor one set before.

    If there are several, one of the event's provider comes first; if that provider is `failing`, last. Then
    the provider's name and the id decide, so that the choice is the same at every look.
    """
    fitting = [
        p
        for p in profiles
        if p.connected and p.profile_id != request.profile_id and p.profile_id not in request.wrote
    ]

    def order(profile: Profile) -> tuple[bool, str, str]:
        same = profile.provider_name is not None and profile.provider_name == request.provider_name
        return same if failing else not same, profile.provider_name or "", profile.profile_id

    return min(fitting, key=order, default=None)


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
