"""Values that tests of diagnosis and reconciliation start from: one time, one policy, one account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Calendar,
    Interaction,
    Missing,
    Notice,
    Observation,
    Policy,
    Profile,
    Profiles,
    Request,
    Seen,
    TokenOwed,
    Unauthorized,
)
from worker.diagnosis.times import EventTime, parse_event_time
from worker.ledger.packing import pack_event, stored_as
from worker.ledger.records import EventKey, Stored, TrackedEvent, to_ms
from worker.reconcile.relinks import RelinkNote, RelinkRules
from worker.reconcile.update import why_not_written
from worker.reconcile.verdict import Judged, Verdict, WriteResult, conclude

#: A Tuesday at noon in UTC: already Wednesday in Auckland, still early morning in Los Angeles.
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))

#: The contract's defaults.
POLICY = Policy(
    grace=2 * MINUTE,
    recheck_min=30 * SECOND,
    recheck_max=6 * HOUR,
    escalate_after=24 * HOUR,
    escalate_before=HOUR,
)

RULES = RelinkRules((DAY, 3 * DAY, 7 * DAY), ("cronofy.com",), "https://api.cronofy.com")

SUB = "acc_1"
CALENDAR = "cal_1"
#: Part of every relink URL here, so that a leak is easy to find.
SECRET = "t0psecret"


def relink_url(profile_id: str) -> str:
    """A relink URL that may be emailed."""
    return f"https://app.cronofy.com/v2/relink/zoom?profile={profile_id}&token={SECRET}"


def at(moment: datetime, tzid: str | None = None) -> EventTime:
    return EventTime(moment, all_day=False, tzid=tzid, wire=moment.isoformat())


def day(text: str, tzid: str) -> EventTime:
    parsed = parse_event_time(text, tzid)
    assert parsed is not None
    return parsed


def profile(
    profile_id: str = "pro_a",
    connected: bool = True,
    provider: str | None = "zoom",
    name: str | None = "dana",
) -> Profile:
    """A profile; a disconnected one has a relink URL."""
    return Profile(profile_id, provider, name, connected, None if connected else relink_url(profile_id))


def lapsed(profile_id: str = "pro_a", provider: str | None = "zoom") -> Profile:
    return profile(profile_id, connected=False, provider=provider)


def calendar(owner: Profile | None = None, integrated: bool | None = None) -> Calendar:
    owner = owner or profile("pro_google", provider="google")
    return Calendar(CALENDAR, replace(owner, is_calendar=True), integrated)


def userinfo(*conferencing: Profile, calendars: tuple[Calendar, ...] = (), listed: bool = True) -> Profiles:
    return Profiles(conferencing, calendars, listed)


def seen(start: EventTime | None = None, **changed: Any) -> Seen:
    """A read that shows the event pending, by default in ten days."""
    start = start or at(NOW + 10 * DAY)
    return Seen(start=start, end=at(start.instant + HOUR), **changed)


def failing(subtype: str | None = None, ago: timedelta = 5 * MINUTE) -> Notice:
    """A notification that conferencing is failing."""
    return Notice(Interaction.FAILING, subtype, NOW - ago)


def request(profile_id: str | None = "pro_a", age: timedelta = MINUTE, **changed: Any) -> Request:
    """What the record says about an event that has waited for `age`."""
    fields: dict[str, Any] = {
        "profile_id": profile_id,
        "provider_name": "zoom",
        "calendar_id": CALENDAR,
        "asked_at": NOW - age,
        "profile_name": "dana",
    }
    return Request(**(fields | changed))


def event_body(event_id: str = "booking-1", start: datetime | None = None) -> dict[str, Any]:
    begins = start or NOW + 10 * DAY
    return {
        "event_id": event_id,
        "summary": f"Interview {event_id}",
        "start": begins.isoformat(),
        "end": (begins + HOUR).isoformat(),
        "conferencing": {"profile_id": "pro_a"},
    }


def tracked(
    event_id: str = "booking-1",
    *,
    profile_id: str | None = "pro_a",
    start: datetime | None = None,
    body: Mapping[str, Any] | None = None,
    age: timedelta = MINUTE,
    **changed: Any,
) -> TrackedEvent:
    """A record as `track` makes it, of an event that has waited for `age`."""
    fields: dict[str, Any] = {
        "key": EventKey(CALENDAR, event_id),
        "body": event_body(event_id, start) if body is None else body,
        "provider_name": "zoom",
        "tracked_at": to_ms(NOW - age),
        "asked_at": to_ms(NOW - age),
        "profile_id": profile_id,
        "next_look": to_ms(NOW),
    }
    return TrackedEvent(**(fields | changed))


def stored(event: TrackedEvent) -> Stored:
    return stored_as(event, pack_event(event))


def judged(
    event: TrackedEvent,
    sighting: Sighting | None = None,
    profiles: Profiles | None = None,
    now: datetime = NOW,
    *,
    notices_arrive: bool = False,
) -> Judged:
    """What a look at `now` concludes from `sighting`; by default what the record says, pending."""
    before = stored(event)
    sighting = sighting or Seen(start=event.start, end=event.end)
    read = sighting if isinstance(sighting, Seen) else None
    event = event.saw(read, now) if read else event
    unwritable = why_not_written(event, read) if read else None
    # An earlier look saw what its profile is named.
    asked = replace(event.request, profile_name="dana")
    diagnosis = diagnose(asked, Observation(sighting, profiles, unwritable), now, POLICY)
    return Judged(before, event, diagnosis, read, notices_arrive)


def concluded(
    event: TrackedEvent,
    sighting: Sighting | None = None,
    profiles: Profiles | None = None,
    now: datetime = NOW,
    *,
    notices_arrive: bool = False,
    write: WriteResult | None = None,
    relink: RelinkNote | None = None,
) -> Verdict:
    """The verdict of that look."""
    found = judged(event, sighting, profiles, now, notices_arrive=notices_arrive)
    return conclude(SUB, found, now, POLICY, write, relink)


Sighting = Seen | Missing | Unauthorized | TokenOwed
URL = "https://zoom.example/j/1"
CONNECTED = userinfo(profile("pro_a"))
EXPIRED = userinfo(lapsed("pro_a"))
#: The event's calendar is connected too, or is the only one that is not.
HOME = userinfo(profile("pro_a"), calendars=(calendar(),))
CALENDAR_LAPSED = userinfo(profile("pro_a"), calendars=(calendar(lapsed("pro_google", provider="google")),))


def labelled(*rows: tuple[Any, ...]) -> list[ParameterSet]:
    """Rows of a test table, each beginning with its label."""
    return [pytest.param(*values, id=label) for label, *values in rows]
