"""The demo's cast: people, their profiles, and events with the end that each must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.control.control import Control
from worker.diagnosis.model import Cause, State
from worker.ledger.outcomes import OutcomeType


@dataclass(frozen=True, slots=True)
class End:
    """How an event must end."""

    state: State
    #: The cause that must be found on the way.
    found: Cause
    #: The outcomes that must be in the stream.
    outcomes: tuple[OutcomeType, ...]

    @property
    def mails_user(self) -> bool:
        """Its user must get an email."""
        kinds = {OutcomeType.RELINK_REQUESTED, OutcomeType.CONNECT_REQUESTED, OutcomeType.FALLBACK}
        return not kinds.isdisjoint(self.outcomes)


@dataclass(frozen=True, slots=True)
class Part:
    """One event of the cast: what happens to it, and how it must end."""

    name: str
    sub: str
    profile_id: str
    story: str
    end: End
    #: From now until it starts.
    hours: float = 48
    all_day: bool = False
    #: It recurs.
    is_series: bool = False

    @property
    def calendar_id(self) -> str:
        """Each person has one calendar."""
        return f"cal_{self.sub}"

    @property
    def ids(self) -> dict[str, Any]:
        """As a task takes them."""
        return {"sub": self.sub, "calendar_id": self.calendar_id, "event_id": self.name}

    @property
    def provider_name(self) -> str | None:
        """Its profile's provider, if it names a profile."""
        named = (p["provider_name"] for p in PEOPLE[self.sub] if p["profile_id"] == self.profile_id)
        return next(named, None)

    @property
    def is_slow(self) -> bool:
        """Its conference comes only after it was seen pending, so that even a slow machine shows the wait."""
        return self.end is _GENERATED

    def body(self, now: datetime, subscription: str) -> dict[str, Any]:
        """The body that the calling application sends to Create or Update Event."""
        start = (now + timedelta(hours=self.hours)).replace(microsecond=0)
        end = start + timedelta(days=1) if self.all_day else start + timedelta(minutes=30)
        interactions = [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}]
        body: dict[str, Any] = {
            "event_id": self.name,
            "summary": self.name.replace("-", " ").capitalize(),
            "description": "Join: {{ cronofy.conferencing.join_url }}",
            "start": _wire(start, self.all_day),
            "end": _wire(end, self.all_day),
            "conferencing": {"profile_id": self.profile_id},
            "subscriptions": [{"type": "webhook", "uri": subscription, "interactions": interactions}],
        }
        if self.is_series:
            body["recurrence"] = {"rules": [{"frequency": "weekly", "interval": 1, "count": 6}]}
        if not self.all_day:
            body["attendees"] = {"invite": [{"email": f"guest-of-{self.name}@example.org"}]}
        return body


def _wire(moment: datetime, all_day: bool) -> Any:
    if all_day:
        return moment.date().isoformat()
    return {"time": moment.isoformat(), "tzid": "Europe/London"}


def _zoom(profile_id: str, **fields: Any) -> dict[str, Any]:
    # Its name is its owner's email address.
    return {"profile_id": profile_id, "provider_name": "zoom", **fields}


#: The people, with their conferencing profiles when the events are written.
PEOPLE: Mapping[str, Sequence[dict[str, Any]]] = {
    "dana": [_zoom("pro_dana", connected=False)],
    "eli": [_zoom("pro_eli_old"), _zoom("pro_eli_new")],
    "fay": [_zoom("pro_fay_old"), _zoom("pro_fay_work"), _zoom("pro_fay_home")],
    "gus": [_zoom("pro_gus")],
    "hana": [],
    "ivo": [{"profile_id": "pro_ivo", "provider_name": "go_to"}],
    "jun": [_zoom("pro_jun")],
    "kim": [_zoom("pro_kim")],
    "lou": [_zoom("pro_lou")],
    "mia": [_zoom("pro_mia")],
    "noa": [{"profile_id": "pro_noa", "provider_name": "webex"}],
}

_ASSIGNED = OutcomeType.ASSIGNED
_GENERATED = End(State.ASSIGNED, Cause.GENERATING, (_ASSIGNED,))
_RELINKED = End(State.ASSIGNED, Cause.CREDENTIALS_EXPIRED, (OutcomeType.RELINK_REQUESTED, _ASSIGNED))
_REASSIGNED = End(State.ASSIGNED, Cause.PROFILE_REMOVED, (OutcomeType.REASSIGNED, _ASSIGNED))
_DECIDED = End(
    State.ASSIGNED, Cause.PROFILE_REMOVED, (OutcomeType.ESCALATED, OutcomeType.REASSIGNED, _ASSIGNED)
)
_CONNECTED = End(
    State.ASSIGNED,
    Cause.PROFILE_REMOVED,
    (OutcomeType.CONNECT_REQUESTED, OutcomeType.CONNECTED, OutcomeType.REASSIGNED, _ASSIGNED),
)
_CAUGHT = End(State.ASSIGNED, Cause.PROVIDER_OUTAGE, (OutcomeType.DELAYED, OutcomeType.FALLBACK, _ASSIGNED))
_OUT_AND_BACK = End(State.ASSIGNED, Cause.PROVIDER_OUTAGE, (OutcomeType.DELAYED, _ASSIGNED))
_PAST = End(State.CLOSED, Cause.EVENT_IN_PAST, (OutcomeType.CLOSED,))
_POSTPONED = End(State.ASSIGNED, Cause.EVENT_IN_PAST, (OutcomeType.CLOSED, OutcomeType.REOPENED, _ASSIGNED))
_GONE = End(State.CLOSED, Cause.EVENT_GONE, (OutcomeType.CLOSED,))
_LOST = End(State.PENDING, Cause.ACCOUNT_UNAUTHORIZED, (OutcomeType.ACCOUNT_LOST,))


_NOT_REPLACED = End(State.PENDING, Cause.PROFILE_REMOVED, (OutcomeType.ESCALATED,))
_UNLICENSED = End(State.PENDING, Cause.MISSING_MEETING_URL, (OutcomeType.ESCALATED,))
_UNEXPLAINED = End(State.PENDING, Cause.UNEXPLAINED, (OutcomeType.ESCALATED,))

CAST: tuple[Part, ...] = (
    Part("interview", "dana", "pro_dana", "her Zoom credentials expired", _RELINKED, hours=26),
    Part("design-review", "dana", "pro_dana", "the same profile: no second email", _RELINKED),
    Part("sprint-planning", "eli", "pro_eli_old", "its profile was removed, one can replace it", _REASSIGNED),
    Part("customer-call", "eli", "pro_eli_old", "the same, but a person moved it", _REASSIGNED),
    Part("board-meeting", "fay", "pro_fay_old", "two could replace its profile, a person decides", _DECIDED),
    Part("onboarding", "mia", "pro_mia", "none could, so she connects Zoom", _CONNECTED),
    Part(
        "team-weekly",
        "eli",
        "pro_eli_old",
        "the same, but it recurs, so it is never written",
        _NOT_REPLACED,
        is_series=True,
    ),
    Part("yesterdays-sync", "gus", "pro_gus", "it began before its conference was made", _PAST, hours=-20),
    Part("called-off", "gus", "pro_gus", "its owner deleted it", _GONE),
    Part("town-hall", "gus", "pro_gus", "its organiser cancelled it", _GONE),
    Part(
        "retrospective", "gus", "pro_gus", "its start passed, and then it was postponed", _POSTPONED, hours=-1
    ),
    Part("teams-briefing", "hana", "integrated", "the Teams licence is gone", _UNLICENSED),
    Part("all-hands", "hana", "integrated", "the same, but a person answers for it", _UNLICENSED, hours=50),
    Part(
        "standup",
        "noa",
        "pro_noa",
        "Webex is down, and it is moved to start soon: our own room",
        _CAUGHT,
        hours=4,
    ),
    Part("webinar", "ivo", "pro_ivo", "GoTo is down, and comes back", _OUT_AND_BACK),
    Part("handover", "jun", "pro_jun", "the user withdrew our access", _LOST),
    Part("mystery", "kim", "pro_kim", "nothing visible is wrong, and no link comes", _UNEXPLAINED),
    Part("weekly", "kim", "pro_kim", "all is well, it only takes a moment", _GENERATED, hours=72),
    Part("quarterly", "lou", "pro_lou", "her calendar itself was disconnected", _RELINKED),
    Part("offsite", "kim", "default", "all day, on the default profile", _GENERATED, hours=120, all_day=True),
)

#: How far the person moves their event.
MOVED_BY = timedelta(hours=3)
#: How soon the event starts that the last resort catches, once it was moved.
SOON = timedelta(minutes=18)
_NAMED = {part.name: part for part in CAST}
MOVED = _NAMED["customer-call"]
DELETED = _NAMED["called-off"]
CANCELLED = _NAMED["town-hall"]
POSTPONED = _NAMED["retrospective"]
CAUGHT = _NAMED["standup"]
HELD_UP = _NAMED["webinar"]
#: It must be told of once and then no more.
ANSWERED_FOR = _NAMED["all-hands"]
#: It gets its link once its calendar is connected again.
CUT_OFF = _NAMED["quarterly"]


def make_people(control: Control) -> dict[str, str]:
    """Create the accounts and profiles; returns each refresh token."""
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


def move(control: Control, part: Part, start: datetime) -> None:
    """A person moves an event of half an hour to this start."""
    start = start.astimezone(UTC).replace(microsecond=0)
    end = start + timedelta(minutes=30)
    control.move_event(part.calendar_id, part.name, start=_wire(start, False), end=_wire(end, False))


def write_events(control: Control, now: datetime, subscription: str) -> None:
    """Write the events as their application would, and apply their stories."""
    control.set_default_profile("kim", "pro_kim")
    control.set_missing_meeting_url("hana", True)
    control.begin_outage("go_to")
    control.begin_outage("webex")
    control.set_stuck("cal_kim", "mystery")
    for part in CAST:
        if part.is_slow or part is CUT_OFF:
            control.set_stuck(part.calendar_id, part.name)
        control.create_event(part.sub, part.calendar_id, part.body(now, subscription))
    control.remove_profile("eli", "pro_eli_old")
    control.remove_profile("fay", "pro_fay_old")
    control.remove_profile("mia", "pro_mia")
    move(control, MOVED, now + timedelta(hours=MOVED.hours) + MOVED_BY)
    control.delete_event(DELETED.calendar_id, DELETED.name)
    control.cancel_event(CANCELLED.calendar_id, CANCELLED.name)
    control.disconnect_profile(CUT_OFF.sub, f"pro_{CUT_OFF.sub}_calendar")
    control.revoke_refresh_token("jun")
    control.expire_access_token("jun")
