"""The domain's vocabulary: what a look saw of an event, and what follows from it.

Everything here is a frozen value, named as in the contract (§1 and §2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from worker.diagnosis.times import EventTime


class State(StrEnum):
    """Where an event stands."""

    #: Conferencing was requested and is not there yet.
    PENDING = "pending"
    #: The event has its join URL.
    ASSIGNED = "assigned"
    #: Nothing more can be done: the event is past or gone.
    CLOSED = "closed"


class Cause(StrEnum):
    """Why an event has no conferencing yet (contract §2); `worker.diagnosis.cause_table` explains each."""

    GENERATING = "generating"
    CREDENTIALS_EXPIRED = "credentials_expired"
    PROFILE_REMOVED = "profile_removed"
    EVENT_IN_PAST = "event_in_past"
    MISSING_MEETING_URL = "missing_meeting_url"
    PROVIDER_OUTAGE = "provider_outage"
    ACCOUNT_UNAUTHORIZED = "account_unauthorized"
    EVENT_GONE = "event_gone"
    UNEXPLAINED = "unexplained"

    @classmethod
    def _missing_(cls, _: object) -> Cause:
        """What a newer version found is not explained here."""
        return cls.UNEXPLAINED


class Certainty(StrEnum):
    """How sure a diagnosis is."""

    CERTAIN = "certain"
    #: Cronofy does not say enough to be sure.
    LIKELY = "likely"


class Remedy(StrEnum):
    """What is done about a cause."""

    NONE = "none"
    #: Look again later.
    WAIT = "wait"
    #: Set another profile by Update Event.
    REASSIGN_PROFILE = "reassign_profile"
    #: Ask the user by email to reconnect the profile.
    RELINK_EMAIL = "relink_email"
    #: Ask the user by email to connect a profile in place of a removed one.
    CONNECT_EMAIL = "connect_email"
    #: Tell a person: no program can fix it.
    ESCALATE = "escalate"
    #: Set the next rung of the last resort by Update Event: the start is near.
    FALLBACK = "fallback"
    #: Stop looking.
    CLOSE = "close"


class Rung(StrEnum):
    """What the last resort sets on an event that is still pending shortly before its start."""

    #: Another connected conferencing profile of the account.
    ANY_CONNECTED = "any_connected"
    #: The calendar's own conferencing.
    INTEGRATED = "integrated"
    #: The company's own room.
    EXPLICIT = "explicit"

    @property
    def mark(self) -> str:
        """What stands among an event's writes, beside what it set, once this rung was set."""
        return f"rung:{self.value}"


class Interaction(StrEnum):
    """What a notice says of an event; intake drops unknown words."""

    ASSIGNED = "conferencing_assigned"
    FAILING = "conferencing_failing"


#: What our own subscriptions ask for; an event subscribed to all of these needs less polling.
SUBSCRIBED = (Interaction.ASSIGNED, Interaction.FAILING)


@dataclass(frozen=True, slots=True)
class Notice:
    """What the latest push notification said of an event; never evidence on its own."""

    interaction: Interaction
    subtype: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a person chose to take the place of a removed profile."""

    #: A profile's id, ``default`` or ``integrated``.
    to_profile_id: str
    #: Who chose it, for people.
    by: str


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on an event, by the caller's record.

    `profile_id` is what was last requested, by the caller or our reassignment: a profile's id, ``default``,
    ``integrated``, ``explicit``, or None if the record does not say. `asked_at` is when waiting began: the
    later of `track` and `created`, or a later change of the profile or its connection. `wrote` has the
    profiles we already set on this event, and the marks of rungs; `chosen` is what a person wants instead of
    `profile_id`. `profile_name` is what UserInfo last named the requested profile, or None if no look ever
    saw it; `account_email` is what the application gave with the account. `first_asked` is what the caller
    itself requested.
    """

    profile_id: str | None
    provider_name: str | None
    calendar_id: str
    asked_at: datetime
    start: EventTime | None = None
    wrote: frozenset[str] = frozenset()
    notice: Notice | None = None
    chosen: Chosen | None = None
    profile_name: str | None = None
    account_email: str | None = None
    first_asked: str | None = None
    #: The caller wrote it as one that recurs.
    series: bool = False
    #: The last look found that its calendar was not connected, or only just.
    lacked_calendar: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """The event in a well-formed read."""

    start: EventTime | None
    end: EventTime | None
    summary: str | None = None
    deleted: bool = False
    cancelled: bool = False
    join_url: str | None = None
    provider_name: str | None = None
    #: True for ``{"pending": true}``; False if the read shows no conferencing at all.
    pending: bool = True
    created: datetime | None = None
    event_uid: str | None = None
    #: What is there but could not be read in full: a write would change it.
    unreadable: tuple[str, ...] = ()
    #: What else the read showed of the fields that a write may have, as on the wire.
    fields: Mapping[str, Any] = field(default_factory=dict)
    #: It is one of several occurrences under one id: the next to come. `start` is None if that is not known.
    series: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """Two well-formed reads, the second one wide enough, did not show the event."""


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """Cronofy refuses the account itself; `reason` is a sentence for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class TokenOwed:
    """Nothing can be read until the application gives another access token."""

    #: When the last one lapsed or was refused.
    since: datetime


#: What a look saw of an event.
Sighting = Seen | Missing | Unauthorized | TokenOwed


@dataclass(frozen=True, slots=True)
class Profile:
    """A conferencing or calendar profile, as UserInfo lists it.

    `relink_url` is a secret, and not in `repr`, to keep it out of logs and tracebacks.
    """

    profile_id: str
    provider_name: str | None
    name: str | None
    connected: bool
    relink_url: str | None = field(default=None, repr=False)
    #: The profile of a calendar, not of a conferencing service.
    is_calendar: bool = False


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar and its profile (Cronofy API reference §5)."""

    calendar_id: str
    profile: Profile
    integrated_available: bool | None = None


@dataclass(frozen=True, slots=True)
class Profiles:
    """What a well-formed UserInfo says about conferencing.

    `listed` is False if the answer has no ``conferencing_profiles`` at all, as when none was ever authorised.
    """

    conferencing: tuple[Profile, ...]
    calendars: tuple[Calendar, ...] = ()
    listed: bool = True

    @property
    def listed_anywhere(self) -> tuple[Profile, ...]:
        """Conferencing and calendar profiles."""
        return (*self.conferencing, *(calendar.profile for calendar in self.calendars))

    @property
    def disconnected(self) -> Mapping[str, Profile]:
        """The profiles that the user has to reconnect, by id."""
        return {p.profile_id: p for p in self.listed_anywhere if not p.connected}

    def conferencing_profile(self, profile_id: str) -> Profile | None:
        """The conferencing profile with this id; names may repeat, ids do not."""
        return next((p for p in self.conferencing if p.profile_id == profile_id), None)

    def calendar(self, calendar_id: str) -> Calendar | None:
        """The calendar with this id, if UserInfo lists it."""
        return next((c for c in self.calendars if c.calendar_id == calendar_id), None)

    def reaches(self, calendar_id: str) -> bool:
        """Whether UserInfo lists the calendar under a connected profile."""
        calendar = self.calendar(calendar_id)
        return calendar is not None and calendar.profile.connected


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look saw, never an error: a failed look makes no observation.

    `profiles` is None if UserInfo was not needed, as when the read settles everything.
    """

    sighting: Sighting
    profiles: Profiles | None = None
    #: Why the event may not be written, in a sentence; None if it may.
    unwritable: str | None = None
    #: Since when the service that it asked for is known to fail, from other events; None if it is not.
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that diagnosis and schedule depend on (contract §4)."""

    grace: timedelta
    recheck_min: timedelta
    recheck_max: timedelta
    escalate_after: timedelta
    escalate_before: timedelta
    #: ``same_provider``, ``any_connected`` or ``never``.
    replacement: str = "same_provider"
    #: Users can be asked to connect a profile: our link to do so has a public address.
    connect: bool = False
    #: The last resort: what is tried, in order, for an event still pending `fallback_before` its start.
    fallback: tuple[Rung, ...] = ()
    fallback_before: timedelta = timedelta(minutes=15)
    #: The address of the company's own rooms, with ``{key}`` in place of what names the event.
    fallback_url: str | None = None


@dataclass(frozen=True, slots=True)
class LastResort:
    """The next rung of the last resort that fits an event, and when it is set if nothing else helps."""

    rung: Rung
    #: What Update Event sets: a profile's id, ``integrated`` or ``explicit``.
    to_profile_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why an event has no link, in words a support person can forward, and what to do about it."""

    state: State
    cause: Cause | None
    certainty: Certainty
    evidence: tuple[str, ...]
    remedy: Remedy
    detail: Mapping[str, Any] = field(default_factory=dict)
    join_url: str | None = None
    #: None if it is off, or nothing is left that fits.
    last_resort: LastResort | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """The diagnosis as in the contract (§1), without the ids and the next look."""
        detail = dict(self.detail)
        if self.last_resort:
            at = self.last_resort.at.isoformat()
            detail["last_resort"] = {
                "rung": self.last_resort.rung.value,
                "to_profile_id": self.last_resort.to_profile_id,
                "at": at,
            }
        return {
            "state": self.state.value,
            "cause": self.cause.value if self.cause else None,
            "certainty": self.certainty.value,
            "evidence": list(self.evidence),
            "remedy": self.remedy.value,
            "detail": detail,
            "join_url": self.join_url,
        }
