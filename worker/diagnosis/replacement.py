"""Which profile may take a removed one's place: only ever when exactly one fits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from worker.diagnosis.model import Profile


@dataclass(frozen=True, slots=True)
class Replacement:
    """The profile to set instead, or None; `reason` says why, for a person."""

    profile_id: str | None
    reason: str
    candidates: tuple[str, ...] = ()


def choose_replacement(
    removed: str,
    provider_name: str | None,
    profiles: Sequence[Profile],
    wrote: Collection[str],
    policy: str,
) -> Replacement:
    """Choose among `profiles` by `policy` (contract §4, ``RECONCILER_REPLACEMENT``).

    `provider_name` is the removed profile's, as far as the caller or an earlier look knew it.
    `wrote` are profiles already set on the event: none is set twice (design: written rarely).
    """
    if policy == "never":
        return Replacement(None, "The policy is to let a person choose the replacement.")
    fitting = [p for p in profiles if p.connected and p.profile_id != removed]
    if policy == "same_provider":
        if provider_name is None:
            return Replacement(
                None,
                "The provider of the removed profile is not on record, so none can stand in for it.",
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
