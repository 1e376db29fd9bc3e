"""The demo's cast: people with their profiles, and events of which each ends as its line says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.control.control import Control
from worker.diagnosis.model import Cause, State
from worker.ledger.outcomes import OutcomeType


@dataclass(frozen=True, slots=True)
class Part:
    """One event of the cast: what happens to it, and how it has to end."""

    name: str
    sub: str
    story: str
    profile_id: str
    state: State
    #: The cause that has to have been found on the way, if any.
    found: Cause | None
    #: What has to have been told of it in the outcomes stream.
    told: tuple[OutcomeType, ...] = ()
    provider_name: str | None = None
    start: timedelta = timedelta(days=2)
    all_day: bool = False

    @property
    def calendar_id(self) -> str:
        """Everybody has one calendar."""
        return f"cal_{self.sub}"

    @property
    def is_slow(self) -> bool:
        """Its conference comes only once it was seen pending, so that this can be shown on any machine."""
        return (self.state, self.found) == (State.ASSIGNED, Cause.GENERATING)

    def body(self, now: datetime, subscription: str) -> dict[str, Any]:
        """The body that the calling application sends to Create or Update Event."""
        start = (now + self.start).replace(microsecond=0)
        end = start + timedelta(days=1) if self.all_day else start + timedelta(minutes=30)
        body: dict[str, Any] = {
            "event_id": self.name,
            "summary": self.name.replace("-", " ").capitalize(),
            "description": "Join: {{ cronofy.conferencing.join_url }}",
            "start": _wire(start, self.all_day),
            "end": _wire(end, self.all_day),
            "conferencing": {"profile_id": self.profile_id},
            "subscriptions": [
                {
                    "type": "webhook",
                    "uri": subscription,
                    "interactions": [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}],
                }
            ],
        }
        if not self.all_day:
            body["attendees"] = {"invite": [{"email": f"guest-of-{self.name}@example.org"}]}
        return body


def _wire(moment: datetime, all_day: bool) -> Any:
    if all_day:
        return moment.date().isoformat()
    return {"time": moment.isoformat(), "tzid": "Europe/London"}


def _zoom(profile_id: str, **fields: Any) -> dict[str, Any]:
    return {"profile_id": profile_id, "provider_name": "zoom", "profile_name": "Zoom", **fields}


#: The people, with the conferencing profiles that they have when their events are written.
PEOPLE: Mapping[str, Sequence[dict[str, Any]]] = {
    "dana": [_zoom("pro_dana", connected=False)],
    "eli": [_zoom("pro_eli_old"), _zoom("pro_eli_new")],
    "fay": [_zoom("pro_fay_old"), _zoom("pro_fay_work"), _zoom("pro_fay_home")],
    "gus": [_zoom("pro_gus")],
    "hana": [],
    "ivo": [{"profile_id": "pro_ivo", "provider_name": "go_to", "profile_name": "GoTo"}],
    "jun": [_zoom("pro_jun")],
    "kim": [_zoom("pro_kim")],
}

_RELINKED, _REASSIGNED = (OutcomeType.ASSIGNED,), (OutcomeType.REASSIGNED, OutcomeType.ASSIGNED)

CAST: tuple[Part, ...] = (
    Part(
        "interview",
        "dana",
        "her Zoom credentials expired",
        "pro_dana",
        State.ASSIGNED,
        Cause.CREDENTIALS_EXPIRED,
        _RELINKED,
        start=timedelta(hours=26),
    ),
    Part(
        "design-review",
        "dana",
        "the same profile: no second email",
        "pro_dana",
        State.ASSIGNED,
        Cause.CREDENTIALS_EXPIRED,
        _RELINKED,
    ),
    Part(
        "sprint-planning",
        "eli",
        "its profile was removed, one can replace it",
        "pro_eli_old",
        State.ASSIGNED,
        Cause.PROFILE_REMOVED,
        _REASSIGNED,
        provider_name="zoom",
    ),
    Part(
        "customer-call",
        "eli",
        "the same, and a person moved it meanwhile",
        "pro_eli_old",
        State.ASSIGNED,
        Cause.PROFILE_REMOVED,
        _REASSIGNED,
        provider_name="zoom",
    ),
    Part(
        "board-meeting",
        "fay",
        "its profile was removed, two could replace it",
        "pro_fay_old",
        State.PENDING,
        Cause.PROFILE_REMOVED,
        (OutcomeType.ESCALATED,),
        provider_name="zoom",
    ),
    Part(
        "yesterdays-sync",
        "gus",
        "it began before its conference was made",
        "pro_gus",
        State.CLOSED,
        Cause.EVENT_IN_PAST,
        (OutcomeType.CLOSED,),
        start=timedelta(hours=-20),
    ),
    Part(
        "called-off",
        "gus",
        "its owner deleted it",
        "pro_gus",
        State.CLOSED,
        Cause.EVENT_GONE,
        (OutcomeType.CLOSED,),
    ),
    Part(
        "teams-briefing",
        "hana",
        "the Teams licence is gone",
        "integrated",
        State.PENDING,
        Cause.MISSING_MEETING_URL,
        (OutcomeType.ESCALATED,),
    ),
    Part(
        "webinar",
        "ivo",
        "GoTo is down, and comes back",
        "pro_ivo",
        State.ASSIGNED,
        Cause.PROVIDER_OUTAGE,
        (OutcomeType.DELAYED, OutcomeType.ASSIGNED),
    ),
    Part(
        "handover",
        "jun",
        "the user withdrew our access",
        "pro_jun",
        State.PENDING,
        Cause.ACCOUNT_UNAUTHORIZED,
        (OutcomeType.ACCOUNT_LOST,),
    ),
    Part(
        "mystery",
        "kim",
        "nothing visible is wrong, and no link comes",
        "pro_kim",
        State.PENDING,
        Cause.UNEXPLAINED,
        (OutcomeType.ESCALATED,),
    ),
    Part(
        "weekly",
        "kim",
        "all is well, it only takes a moment",
        "pro_kim",
        State.ASSIGNED,
        Cause.GENERATING,
        (OutcomeType.ASSIGNED,),
        start=timedelta(days=3),
    ),
    Part(
        "offsite",
        "kim",
        "all day, and whichever profile is the default",
        "default",
        State.ASSIGNED,
        Cause.GENERATING,
        (OutcomeType.ASSIGNED,),
        start=timedelta(days=5),
        all_day=True,
    ),
)

#: By how much the person moves their event.
MOVED_BY = timedelta(hours=3)
MOVED = next(part for part in CAST if part.name == "customer-call")
DELETED = next(part for part in CAST if part.name == "called-off")


def make_people(control: Control) -> dict[str, str]:
    """Make the accounts with their profiles; returns each one's refresh token."""
    tokens: dict[str, str] = {}
    for sub, profiles in PEOPLE.items():
        account = control.create_account(
            sub=sub,
            name=sub.capitalize(),
            email=f"{sub}@example.org",
            calendar_profiles=[
                {
                    "profile_id": f"pro_{sub}_calendar",
                    "provider_name": "exchange" if sub == "hana" else "google",
                    "calendars": [{"calendar_id": f"cal_{sub}", "integrated_conferencing_available": True}],
                }
            ],
            conferencing_profiles=list(profiles),
        )
        tokens[sub] = str(account["refresh_token"])
    return tokens


def write_events(control: Control, now: datetime, subscription: str) -> None:
    """Write the events as their application would, and do to them what their stories say."""
    control.set_default_profile("kim", "pro_kim")
    control.set_missing_meeting_url("hana", True)
    control.begin_outage("go_to")
    control.set_stuck("cal_kim", "mystery")
    for part in CAST:
        if part.is_slow:
            control.set_stuck(part.calendar_id, part.name)
        control.create_event(part.sub, part.calendar_id, part.body(now, subscription))
    control.remove_profile("eli", "pro_eli_old")
    control.remove_profile("fay", "pro_fay_old")
    start = now.astimezone(UTC) + MOVED.start + MOVED_BY
    control.move_event(
        MOVED.calendar_id,
        MOVED.name,
        start=_wire(start.replace(microsecond=0), False),
        end=_wire((start + timedelta(minutes=30)).replace(microsecond=0), False),
    )
    control.delete_event(DELETED.calendar_id, DELETED.name)
    control.revoke_refresh_token("jun")
    control.expire_access_token("jun")
