"""Values that tests of diagnosis and reconciliation start from: one time, one policy, one account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Calendar,
    Cause,
    Certainty,
    Diagnosis,
    Interaction,
    Missing,
    Notice,
    Observation,
    Policy,
    Profile,
    Profiles,
    Remedy,
    Request,
    Seen,
    State,
    Unauthorized,
)
from worker.diagnosis.times import EventTime, parse_event_time
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.packing import pack_event, stored_as
from worker.ledger.records import Account, Episode, EventKey, Memo, Stored, TrackedEvent, to_ms
from worker.mail.compose import RelinkEmail
from worker.reconcile.relinks import RelinkNote, RelinkPlan, RelinkRules, affected, plan_relinks, reconnected
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
    parsed = parse_event_time({"time": text, "tzid": tzid})
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
    return Calendar(CALENDAR, owner or profile("pro_google", provider="google"), integrated)


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
    sighting: Seen | Missing | Unauthorized | None = None,
    profiles: Profiles | None = None,
    now: datetime = NOW,
    policy: Policy = POLICY,
    *,
    notices_arrive: bool = False,
) -> Judged:
    """What a look at `now` concludes from `sighting`; by default what the record says, pending."""
    before = stored(event)
    sighting = sighting or Seen(start=event.start, end=event.end)
    read = sighting if isinstance(sighting, Seen) else None
    event = event.saw(read, now) if read else event
    diagnosis = diagnose(event.request, Observation(sighting, profiles), now, policy)
    return Judged(before, event, diagnosis, read, notices_arrive)


def concluded(
    event: TrackedEvent,
    sighting: Seen | Missing | Unauthorized | None = None,
    profiles: Profiles | None = None,
    now: datetime = NOW,
    policy: Policy = POLICY,
    *,
    notices_arrive: bool = False,
    write: WriteResult | None = None,
    relink: RelinkNote | None = None,
) -> Verdict:
    """The verdict of that look."""
    found = judged(event, sighting, profiles, now, policy, notices_arrive=notices_arrive)
    return conclude(SUB, found, now, policy, write, relink)


CERTAIN, LIKELY = Certainty.CERTAIN, Certainty.LIKELY
URL = "https://zoom.example/j/1"
CONNECTED = userinfo(profile("pro_a"))
EXPIRED = userinfo(lapsed("pro_a"))


def labelled(*rows: tuple[Any, ...]) -> list[ParameterSet]:
    """Rows of a test table, each beginning with its label."""
    return [pytest.param(*values, id=label) for label, *values in rows]


@dataclass(frozen=True)
class Want:
    """What a diagnosis must be, apart from its evidence."""

    cause: Cause | None
    certainty: Certainty
    remedy: Remedy
    detail: dict[str, Any] = field(default_factory=dict)
    state: State = State.PENDING


def generating(certainty: Certainty = CERTAIN) -> Want:
    return Want(Cause.GENERATING, certainty, Remedy.WAIT)


UNEXPLAINED = Want(Cause.UNEXPLAINED, LIKELY, Remedy.ESCALATE)
OUTAGE = Want(Cause.PROVIDER_OUTAGE, CERTAIN, Remedy.WAIT, {"since": "2026-12-01T11:55:00+00:00"})
NO_URL_NOTIFIED = Want(
    Cause.MISSING_MEETING_URL, CERTAIN, Remedy.ESCALATE, {"since": "2026-12-01T11:55:00+00:00"}
)
NO_URL_INFERRED = Want(Cause.MISSING_MEETING_URL, LIKELY, Remedy.ESCALATE)
UNAUTHORIZED = Want(Cause.ACCOUNT_UNAUTHORIZED, CERTAIN, Remedy.CLOSE)
PAST = Want(Cause.EVENT_IN_PAST, CERTAIN, Remedy.CLOSE, state=State.CLOSED)


def gone(certainty: Certainty) -> Want:
    return Want(Cause.EVENT_GONE, certainty, Remedy.CLOSE, state=State.CLOSED)


def expired(certainty: Certainty = CERTAIN, profile_id: str = "pro_a", provider: str = "zoom") -> Want:
    detail = {"profile_id": profile_id, "provider_name": provider}
    return Want(Cause.CREDENTIALS_EXPIRED, certainty, Remedy.RELINK_EMAIL, detail)


def removed(*candidates: str, to: str | None = None, certainty: Certainty = CERTAIN) -> Want:
    """The profile was removed: exactly one other fits, or a person has to choose."""
    detail = {"profile_id": "pro_a", "candidates": [*candidates]} | ({"to_profile_id": to} if to else {})
    remedy = Remedy.REASSIGN_PROFILE if to else Remedy.ESCALATE
    return Want(Cause.PROFILE_REMOVED, certainty, remedy, detail)


def assigned(provider: str | None = None) -> Want:
    detail = {"join_url": URL, "provider_name": provider}
    return Want(None, CERTAIN, Remedy.NONE, detail, State.ASSIGNED)


Sighting = Seen | Missing | Unauthorized


def verify(asked: Request, sighting: Sighting, profiles: Profiles | None, want: Want) -> None:
    """Diagnose, and compare everything but the evidence."""
    found = diagnose(asked, Observation(sighting, profiles), NOW, POLICY)

    url = URL if want.state is State.ASSIGNED else None
    expected = Diagnosis(
        want.state, want.cause, want.certainty, found.evidence, want.remedy, want.detail, url
    )
    assert found == expected


ADDRESS = "dana@example.org"
RULES = RelinkRules((DAY, 3 * DAY, 7 * DAY), ("cronofy.com",), "https://api.cronofy.com")
FAR = NOW + 30 * DAY


@dataclass(frozen=True)
class Planned:
    """A look's relink plan, and the verdicts that follow from it."""

    plan: RelinkPlan
    verdicts: tuple[Verdict, ...]

    @property
    def episodes(self) -> dict[str, Episode]:
        return dict(self.plan.episodes)

    @property
    def emails(self) -> tuple[tuple[str, RelinkEmail], ...]:
        return self.plan.emails

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return self.plan.outcomes

    @property
    def listed(self) -> list[tuple[str, ...]]:
        return [tuple(meeting.event_id for meeting in email.meetings) for _, email in self.plan.emails]

    @property
    def escalations(self) -> dict[str, str]:
        return {
            str(outcome.event_id): outcome.detail["reason"]
            for verdict in self.verdicts
            for outcome in verdict.outcomes
            if outcome.type is OutcomeType.ESCALATED
        }


def plan(
    events: Sequence[TrackedEvent],
    profiles: Profiles = EXPIRED,
    *,
    episodes: dict[str, Episode] | None = None,
    others: Sequence[TrackedEvent] = (),
    address: str | None = ADDRESS,
    now: datetime = NOW,
    rules: RelinkRules = RULES,
    dry_run: bool = False,
) -> Planned:
    """The plan of a look at `now` that judged `events` and knows of `others`."""
    account = Account(SUB, None, lost=False, name="Dana", memo=Memo(episodes or {}))
    found = [judged(event, profiles=profiles, now=now) for event in events]
    concerned = [
        affected(each.diagnosed, found=True)
        for each in found
        if each.diagnosis.cause is Cause.CREDENTIALS_EXPIRED
    ]
    concerned += [affected(event) for event in others]
    back = reconnected(account.memo, profiles)
    made = plan_relinks(account, concerned, profiles, back, address, now, rules, dry_run=dry_run)
    verdicts = [conclude(SUB, each, now, POLICY, None, made.notes.get(each.key)) for each in found]
    return Planned(made, tuple(verdicts))


def running(mails: int = 1, *events: str) -> dict[str, Episode]:
    """An episode of pro_a that began now and has sent this many emails."""
    keys = tuple((CALENDAR, event_id) for event_id in events or ("a",))
    return {"pro_a": Episode(to_ms(NOW), mails, tuple(f"mail_{n}" for n in range(mails)), keys)}
