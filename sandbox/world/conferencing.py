"""What Cronofy makes of a request for a conference: a pure function, one branch per cause (§3)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.world.accounts import Account, CalendarProfile, ConferencingProfile
from sandbox.world.events import Event

#: The conferencing services built into calendar services.
INTEGRATED = {"google": "google_meet", "office365": "ms_teams", "exchange": "ms_teams"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended: with a conference, or with what its failure leads to."""

    conferencing: dict[str, Any] | None = None
    #: Cronofy retries later; otherwise the failure is final.
    retry: bool = False
    #: Whether `conferencing_failing` is sent, and its subtype.
    failing: bool = False
    subtype: str | None = None
    #: The profile that turned out to be disconnected.
    disconnected: CalendarProfile | ConferencingProfile | None = None


def attempt(event: Event, account: Account, outages: Collection[str], now: datetime) -> Attempt:
    """Try to make the conference that `event` asks for, at time `now`.

    `outages` holds the names of the providers that are down.
    """
    if event.start.instant() <= now:
        return Attempt()
    home = account.calendar(event.calendar_id)
    if home is None:
        return Attempt()
    calendar_profile, calendar = home
    if not calendar_profile.connected:
        # The event cannot be written at all (§5).
        return Attempt(retry=True, disconnected=calendar_profile)
    wanted = event.profile_id or "default"
    if wanted == "default":
        wanted = account.default_profile or "integrated"
    if wanted == "integrated":
        provider = INTEGRATED.get(calendar_profile.provider_name, "integrated")
        gives_url = calendar.integrated_conferencing_available and not account.missing_meeting_url
    else:
        profile = account.conferencing_profile(wanted)
        if profile is None:
            return Attempt(failing=True, subtype="profile_missing")
        if not profile.connected:
            return Attempt(retry=True, disconnected=profile)
        provider, gives_url = profile.provider_name, not profile.missing_meeting_url
    if provider in outages:
        return Attempt(retry=True, failing=True)
    if not gives_url:
        return Attempt(retry=True, failing=True, subtype="missing_meeting_url")
    host = provider.replace("_", "-")
    # A meeting is unique to the event (§9) and to the request: asked twice, Cronofy may make two.
    url = f"https://{host}.example/j/{event.event_uid[-12:]}-{event.generation}"
    return Attempt(conferencing={"provider_name": provider, "join_url": url})
