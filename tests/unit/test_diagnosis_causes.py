"""The table of causes (contract §2): what a read, UserInfo, notifications and an event's age say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.builders import (
    CALENDAR,
    CALENDAR_LAPSED,
    CONNECTED,
    DAY,
    EXPIRED,
    HOME,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    TICK,
    URL,
    Sighting,
    at,
    calendar,
    day,
    failing,
    labelled,
    lapsed,
    profile,
    request,
    seen,
    userinfo,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Cause,
    Certainty,
    Chosen,
    Diagnosis,
    Interaction,
    Missing,
    Notice,
    Observation,
    Policy,
    Profiles,
    Remedy,
    Request,
    Seen,
    State,
    TokenOwed,
    Unauthorized,
)
from worker.diagnosis.times import parse_event_time

GRACE = 2 * MINUTE
CERTAIN, LIKELY = Certainty.CERTAIN, Certainty.LIKELY


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
LONG_OUTAGE = replace(OUTAGE, remedy=Remedy.ESCALATE)
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


def by_dana(to: str | None = None) -> Want:
    """The profile was removed, and a person chose another, which may be set or not."""
    want = removed("pro_b", "pro_c", "integrated", "default", to=to)
    return replace(want, detail={**want.detail, "chosen_by": "Dana"})


def asked_to_connect(*candidates: str) -> Want:
    """The profile was removed, and its user can connect one of its service."""
    want = removed(*candidates)
    return replace(want, remedy=Remedy.CONNECT_EMAIL, detail={**want.detail, "provider_name": "zoom"})


REPLACED = Want(
    Cause.PROFILE_REMOVED,
    CERTAIN,
    Remedy.REASSIGN_PROFILE,
    {"profile_id": "pro_x", "candidates": ["pro_a"], "to_profile_id": "pro_a"},
)


def assigned(provider: str | None = None) -> Want:
    detail = {"join_url": URL, "provider_name": provider}
    return Want(None, CERTAIN, Remedy.NONE, detail, State.ASSIGNED)


def verify(
    asked: Request, sighting: Sighting, profiles: Profiles | None, want: Want, policy: Policy = POLICY
) -> None:
    """Diagnose, and compare everything but the evidence."""
    found = diagnose(asked, Observation(sighting, profiles), NOW, policy)

    url = URL if want.state is State.ASSIGNED else None
    expected = Diagnosis(
        want.state, want.cause, want.certainty, found.evidence, want.remedy, want.detail, url
    )
    assert replace(found, detail=of_interest(found)) == expected


def of_interest(found: Diagnosis) -> dict[str, Any]:
    """The detail without what a person may choose, which has a test of its own."""
    left_out = {"possible"} if found.cause is Cause.PROFILE_REMOVED else set()
    if left_out and found.remedy is not Remedy.CONNECT_EMAIL:
        left_out.add("provider_name")
    return {name: value for name, value in found.detail.items() if name not in left_out}


REFUSED = Unauthorized("The grant is gone.")
PAST_BY_RECORD = request(start=at(NOW - DAY), notice=failing())


@pytest.mark.parametrize(
    ("asked", "sighting", "profiles", "want"),
    labelled(
        ("a link", request(), seen(join_url=URL, provider_name="zoom"), None, assigned("zoom")),
        ("a link, though pending", request(), seen(join_url=URL, pending=True), EXPIRED, assigned()),
        ("a link, profile removed", request(), seen(join_url=URL), userinfo(), assigned()),
        ("a link, past", request(), seen(at(NOW - DAY), join_url=URL), None, assigned()),
        ("an empty link", request(), seen(join_url=""), CONNECTED, generating()),
        ("deleted", request(), seen(deleted=True), None, gone(CERTAIN)),
        ("deleted with its link", request(), seen(deleted=True, join_url=URL), None, gone(CERTAIN)),
        ("deleted and past", request(), seen(at(NOW - DAY), deleted=True), EXPIRED, gone(CERTAIN)),
        ("cancelled", request(), seen(cancelled=True), None, gone(CERTAIN)),
        ("cancelled with its link", request(), seen(cancelled=True, join_url=URL), None, gone(CERTAIN)),
        ("cancelled and past", request(), seen(at(NOW - DAY), cancelled=True), EXPIRED, gone(CERTAIN)),
        ("account refused", request(), REFUSED, None, UNAUTHORIZED),
        ("account refused, whatever else", PAST_BY_RECORD, REFUSED, EXPIRED, UNAUTHORIZED),
    ),
)
def test_what_the_read_settles(
    asked: Request, sighting: Sighting, profiles: Profiles | None, want: Want
) -> None:
    """A link, a deletion, a missing event or a refused account decides before anything else is asked."""
    verify(asked, sighting, profiles, want)


def calendar_lapsed(provider: str = "google") -> Want:
    want = expired(LIKELY, "pro_google", provider)
    return replace(want, detail={**want.detail, "calendar_id": CALENDAR})


UNLISTED = Want(Cause.CREDENTIALS_EXPIRED, LIKELY, Remedy.ESCALATE, {"calendar_id": CALENDAR})
LATE_READ = replace(generating(LIKELY), detail={"calendar_id": CALENDAR})
ALL_LAPSED = userinfo(lapsed(), calendars=CALENDAR_LAPSED.calendars)
NO_CALENDAR_LINK = userinfo(
    calendars=(calendar(replace(lapsed("pro_google", "google"), relink_url=None)),),
)
AHEAD = request(start=at(NOW + TICK))


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    labelled(
        ("calendar connected", AHEAD, HOME, gone(LIKELY)),
        ("connected, past by its record", PAST_BY_RECORD, HOME, gone(LIKELY)),
        (
            "connected, though its own profile is not",
            AHEAD,
            userinfo(lapsed(), calendars=HOME.calendars),
            gone(LIKELY),
        ),
        ("connected again just now", replace(AHEAD, lacked_calendar=True), HOME, LATE_READ),
        (
            "connected again, at GRACE",
            replace(AHEAD, lacked_calendar=True, asked_at=NOW - GRACE),
            HOME,
            gone(LIKELY),
        ),
        ("connected, a series", request(series=True, age=DAY), HOME, generating(LIKELY)),
        ("connected, a series for longer", request(series=True, age=DAY + TICK), HOME, UNEXPLAINED),
        (
            "connected, a series, its record near",
            request(series=True, age=HOUR, start=at(NOW + MINUTE)),
            HOME,
            generating(LIKELY),
        ),
        ("calendar disconnected", AHEAD, CALENDAR_LAPSED, calendar_lapsed()),
        ("disconnected, without a link to send", AHEAD, NO_CALENDAR_LINK, calendar_lapsed()),
        ("disconnected, as its own profile is", AHEAD, ALL_LAPSED, calendar_lapsed()),
        ("disconnected, no start known", request(), CALENDAR_LAPSED, calendar_lapsed()),
        (
            "disconnected, past by its record",
            PAST_BY_RECORD,
            CALENDAR_LAPSED,
            replace(PAST, certainty=LIKELY),
        ),
        (
            "disconnected, a series, past by its record",
            request(series=True, start=at(NOW - DAY)),
            CALENDAR_LAPSED,
            calendar_lapsed(),
        ),
        ("calendar not listed", AHEAD, CONNECTED, UNLISTED),
        (
            "another calendar listed",
            replace(AHEAD, calendar_id="x"),
            HOME,
            replace(UNLISTED, detail={"calendar_id": "x"}),
        ),
        ("nothing listed", AHEAD, userinfo(listed=False), UNLISTED),
        ("not listed, past by its record", PAST_BY_RECORD, CONNECTED, replace(PAST, certainty=LIKELY)),
        ("UserInfo not asked", AHEAD, None, generating(LIKELY)),
    ),
)
def test_an_event_that_two_reads_do_not_show(asked: Request, profiles: Profiles | None, want: Want) -> None:
    """It is gone only if its calendar is connected: Cronofy may show no events of one that is not."""
    verify(asked, Missing(), profiles, want)


@pytest.mark.parametrize(
    ("owed", "age", "left", "remedy"),
    labelled(
        ("just lapsed", SECOND, DAY, 2 * DAY, Remedy.WAIT),
        ("just lapsed, about to start", SECOND, DAY, MINUTE, Remedy.WAIT),
        ("past GRACE, about to start", 3 * MINUTE, DAY, MINUTE, Remedy.ESCALATE),
        ("tracked a moment ago, about to start", DAY, MINUTE, MINUTE, Remedy.WAIT),
        ("past GRACE, starts later", HOUR, DAY, 2 * HOUR, Remedy.WAIT),
        ("past ESCALATE_AFTER", 25 * HOUR, 2 * DAY, 10 * DAY, Remedy.ESCALATE),
        ("past ESCALATE_AFTER, no start", 25 * HOUR, 2 * DAY, None, Remedy.ESCALATE),
        ("past ESCALATE_AFTER, starting", 25 * HOUR, 2 * DAY, timedelta(0), Remedy.WAIT),
        ("past ESCALATE_AFTER, started", 25 * HOUR, 2 * DAY, -MINUTE, Remedy.WAIT),
    ),
)
def test_a_person_is_told_before_the_start_that_a_token_is_owed(
    owed: timedelta, age: timedelta, left: timedelta | None, remedy: Remedy
) -> None:
    """The event waits, and is escalated once the token is overdue."""
    asked = request(age=age, start=None if left is None else at(NOW + left))
    want = Want(Cause.ACCOUNT_UNAUTHORIZED, CERTAIN, remedy, {"since": (NOW - owed).isoformat()})

    verify(asked, TokenOwed(NOW - owed), None, want)


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    labelled(
        ("its own profile connected", request(), CALENDAR_LAPSED, calendar_lapsed()),
        ("old", request(age=30 * DAY), CALENDAR_LAPSED, calendar_lapsed()),
        ("default", request("default"), CALENDAR_LAPSED, calendar_lapsed()),
        ("integrated", request("integrated"), CALENDAR_LAPSED, calendar_lapsed()),
        ("explicit", request("explicit"), CALENDAR_LAPSED, calendar_lapsed()),
        ("not on record", request(None), CALENDAR_LAPSED, calendar_lapsed()),
        ("an outage was notified", request(notice=failing()), CALENDAR_LAPSED, calendar_lapsed()),
        ("its own disconnected too", request(), ALL_LAPSED, expired()),
        ("its own removed", replace(request(), profile_id="pro_x"), CALENDAR_LAPSED, REPLACED),
        ("another calendar's", request(calendar_id="x"), CALENDAR_LAPSED, generating()),
    ),
)
def test_the_calendars_own_profile(asked: Request, profiles: Profiles, want: Want) -> None:
    """While it is disconnected Cronofy writes nothing there, whatever conferencing was asked for."""
    verify(asked, seen(), profiles, want)


AUCKLAND, LOS_ANGELES = "Pacific/Auckland", "America/Los_Angeles"
NO_START, NO_NEXT = Seen(start=None, end=None), Seen(start=None, end=None, series=True)


@pytest.mark.parametrize(
    ("asked", "sighting", "want"),
    labelled(
        ("right now", request(), seen(at(NOW)), PAST),
        ("in a microsecond", request(), seen(at(NOW + TICK)), generating()),
        ("all day today, UTC", request(), seen(day("2026-12-01", "UTC")), PAST),
        ("all day today, Los Angeles", request(), seen(day("2026-12-01", LOS_ANGELES)), PAST),
        ("all day today, Auckland", request(), seen(day("2026-12-02", AUCKLAND)), PAST),
        ("all day tomorrow, Los Angeles", request(), seen(day("2026-12-02", LOS_ANGELES)), generating()),
        ("all day tomorrow, Auckland", request(), seen(day("2026-12-03", AUCKLAND)), generating()),
        ("the first occurrence is over", request(start=at(NOW - DAY)), seen(series=True), generating()),
        ("the first is over, the next not shown", request(start=at(NOW - DAY)), NO_NEXT, generating()),
        ("the last occurrence is over", request(), seen(at(NOW), series=True), PAST),
        ("moved to the past: the read counts", request(start=at(NOW + DAY)), seen(at(NOW - DAY)), PAST),
        ("moved on: the read counts", request(start=at(NOW - DAY)), seen(at(NOW + DAY)), generating()),
        ("no start read: the record's", request(start=at(NOW)), NO_START, PAST),
        ("no start at all", request(), NO_START, generating()),
    ),
)
def test_starts(asked: Request, sighting: Seen, want: Want) -> None:
    """An event closes once it starts, an all-day one at midnight in its own zone."""
    verify(asked, sighting, CONNECTED, want)


@pytest.mark.parametrize("read", ["2026-12-01", {"time": "2026-12-01", "tzid": "Etc/UTC"}], ids=str)
@pytest.mark.parametrize(
    ("tzid", "begins"),
    labelled(
        ("Los Angeles", LOS_ANGELES, "2026-12-01T08:00Z"),
        ("UTC", "Etc/UTC", "2026-12-01T00:00Z"),
        ("Auckland", AUCKLAND, "2026-11-30T11:00Z"),
        ("Windows' Berlin", "W. Europe Standard Time", "2026-11-30T23:00Z"),
        ("unknown", "Mars/Olympus", "2026-12-01T12:00Z"),
        ("none", None, "2026-12-01T12:00Z"),
    ),
)
def test_an_all_day_event_is_past_once_its_first_day_began(read: Any, tzid: str | None, begins: str) -> None:
    """In the caller's zone, though the read is in UTC; in no zone, once it began everywhere."""
    start, moment = parse_event_time(read, tzid), datetime.fromisoformat(begins)
    for now, cause in ((moment - TICK, Cause.UNEXPLAINED), (moment, Cause.EVENT_IN_PAST)):
        asked = request(asked_at=now - HOUR)
        found = diagnose(asked, Observation(Seen(start, None), CONNECTED), now, POLICY)
        assert found.cause is cause


@pytest.mark.parametrize("profiles", [None, EXPIRED, userinfo(), userinfo(listed=False)])
def test_past_comes_before_the_profile(profiles: Profiles | None) -> None:
    """A past event is closed whatever its profile, without UserInfo."""
    verify(request(notice=failing()), seen(at(NOW - DAY)), profiles, PAST)


@pytest.mark.parametrize("tzid", [LOS_ANGELES, AUCKLAND, None])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_ends_of_time(text: str, tzid: str | None) -> None:
    """The first and last times, which some clients write for "no date", get an answer in any zone."""
    start = parse_event_time(text, tzid)

    found = diagnose(request(start=start), Observation(Seen(start, None), CONNECTED), NOW, POLICY)

    assert found.cause is (Cause.EVENT_IN_PAST if text < "2026" else Cause.GENERATING)


@pytest.mark.parametrize(
    ("asked", "sighting", "profiles", "want"),
    labelled(
        ("a clock ahead of ours", request(age=-MINUTE), seen(), CONNECTED, generating()),
        ("just below GRACE", request(age=GRACE - TICK), seen(), CONNECTED, generating()),
        ("at GRACE", request(age=GRACE), seen(), CONNECTED, generating(LIKELY)),
        ("at ESCALATE_AFTER", request(age=DAY), seen(), CONNECTED, generating(LIKELY)),
        ("above ESCALATE_AFTER", request(age=DAY + TICK), seen(), CONNECTED, UNEXPLAINED),
        ("starts in an hour", request(age=GRACE), seen(at(NOW + HOUR)), CONNECTED, generating(LIKELY)),
        ("starts sooner", request(age=GRACE), seen(at(NOW + HOUR - TICK)), CONNECTED, UNEXPLAINED),
        ("sooner, but young", request(age=GRACE - TICK), seen(at(NOW + MINUTE)), CONNECTED, generating()),
        ("sooner, by its record", request(age=HOUR, start=at(NOW + TICK)), NO_START, CONNECTED, UNEXPLAINED),
        ("old, no start known", request(age=2 * DAY), NO_START, CONNECTED, UNEXPLAINED),
        ("default, old", request("default", 2 * DAY), seen(), CONNECTED, UNEXPLAINED),
        ("not on record, old", request(None, 2 * DAY), seen(), CONNECTED, UNEXPLAINED),
        ("UserInfo not asked", request(), seen(), None, generating()),
        ("UserInfo not asked, old", request(age=2 * DAY), seen(), None, UNEXPLAINED),
    ),
)
def test_ages(asked: Request, sighting: Seen, profiles: Profiles | None, want: Want) -> None:
    """With nothing visibly wrong, age and time to the start decide: normal, delayed or unexplained."""
    verify(asked, sighting, profiles, want)


ONE_OTHER = userinfo(profile("pro_b"))
TWO_OTHERS = userinfo(profile("pro_b"), profile("pro_c"))
#: Two profiles with one name, one of them disconnected.
FIRST_LAPSED = userinfo(lapsed("pro_a"), profile("pro_b"))
SECOND_LAPSED = userinfo(profile("pro_a"), lapsed("pro_b"))
NO_LIST = userinfo(listed=False)
NAMELESS = Want(Cause.CREDENTIALS_EXPIRED, CERTAIN, Remedy.RELINK_EMAIL, {"profile_id": "pro_a"})
MISSING = failing("profile_missing")
NO_URL = failing("missing_meeting_url")
ASSIGNED = Notice(Interaction.ASSIGNED, None, NOW)


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    labelled(
        ("disconnected, old", request(age=30 * DAY), EXPIRED, expired()),
        ("disconnected, provider unknown", request(), userinfo(lapsed(provider=None)), NAMELESS),
        ("one name, ours disconnected", request(), FIRST_LAPSED, expired()),
        ("one name, the other disconnected", request(), SECOND_LAPSED, generating()),
        ("removed, old", request(age=30 * DAY), ONE_OTHER, removed("pro_b", to="pro_b")),
        ("removed, none fits", request(), userinfo(lapsed("pro_b")), removed()),
        ("removed, two fit", request(), TWO_OTHERS, removed("pro_b", "pro_c")),
        ("removed, provider unknown", request(provider_name=None), ONE_OTHER, removed("pro_b")),
        ("removed, another's fits", request(profile_name="lee"), ONE_OTHER, removed("pro_b")),
        ("removed, tried before", request(wrote=frozenset({"pro_b"})), ONE_OTHER, removed("pro_b")),
        ("removed, a person chose", request(chosen=Chosen("pro_c", "Dana")), TWO_OTHERS, by_dana("pro_c")),
        ("removed, what they chose too", request(chosen=Chosen("pro_x", "Dana")), TWO_OTHERS, by_dana()),
        ("no list of profiles", request(), NO_LIST, removed(certainty=LIKELY)),
        ("no list, and notified", request(notice=MISSING), NO_LIST, removed()),
        ("only a calendar's of that id", request(), userinfo(calendars=(calendar(profile()),)), removed()),
    ),
)
def test_the_named_profile(asked: Request, profiles: Profiles, want: Want) -> None:
    """An event that names its profile is explained by what UserInfo says about exactly that id."""
    verify(asked, seen(), profiles, want)


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    labelled(
        ("outage, a day", request(notice=failing(), age=DAY), CONNECTED, OUTAGE),
        ("outage, longer", request(notice=failing(), age=DAY + TICK), CONNECTED, LONG_OUTAGE),
        ("outage, default", request("default", notice=failing()), CONNECTED, OUTAGE),
        ("outage, UserInfo not asked", request(notice=failing()), None, OUTAGE),
        ("outage, yet disconnected", request(notice=failing()), EXPIRED, expired()),
        ("outage, yet removed", request(notice=failing()), ONE_OTHER, removed("pro_b", to="pro_b")),
        ("no URL, integrated", request("integrated", notice=NO_URL), CONNECTED, NO_URL_NOTIFIED),
        ("no URL, default", request("default", notice=NO_URL), EXPIRED, NO_URL_NOTIFIED),
        ("no URL, yet disconnected", request(notice=NO_URL), EXPIRED, expired()),
        ("missing, yet connected", request(notice=MISSING), CONNECTED, generating()),
        ("missing, yet connected, old", request(notice=MISSING, age=DAY + TICK), CONNECTED, UNEXPLAINED),
        ("missing, yet only disconnected", request(notice=MISSING), EXPIRED, expired()),
        ("unknown subtype", request(notice=failing("sunspots")), CONNECTED, generating()),
        ("assigned, yet pending", request(notice=ASSIGNED), CONNECTED, generating()),
    ),
)
def test_notifications(asked: Request, profiles: Profiles | None, want: Want) -> None:
    """A notification explains what UserInfo does not; if they disagree, UserInfo wins."""
    verify(asked, seen(), profiles, want)


@pytest.mark.parametrize(
    ("asked", "start", "remedy", "evidence"),
    [
        pytest.param(
            request(),
            DAY,
            Remedy.WAIT,
            ("The zoom service has given no link to anybody here since 2026-12-01 11:00 UTC",),
            id="lately",
        ),
        pytest.param(
            request(provider_name=None, age=DAY + TICK),
            DAY,
            Remedy.ESCALATE,
            (
                "The conferencing service has given no link to anybody here since 2026-12-01 11:00 UTC",
                "It has been pending for over 1 day.",
            ),
            id="longer, of an unknown service",
        ),
        pytest.param(
            request(age=HOUR),
            30 * MINUTE,
            Remedy.ESCALATE,
            (
                "The zoom service has given no link to anybody here since 2026-12-01 11:00 UTC",
                "It starts in 30 minutes.",
            ),
            id="it starts soon",
        ),
    ],
)
def test_what_other_events_say_of_its_service(
    asked: Request, start: timedelta, remedy: Remedy, evidence: tuple[str, ...]
) -> None:
    """Where nothing is wrong with the event itself, it is likely to wait for the same as they do."""
    observation = Observation(seen(at(NOW + start), pending=False), CONNECTED, failing_since=NOW - HOUR)

    found = diagnose(asked, observation, NOW, POLICY)

    told = (f"{evidence[0]}; Cronofy keeps trying.", *evidence[1:])
    about = ("Conferencing was asked for, but Cronofy shows none on the event.", *told)
    since = {"since": "2026-12-01T11:00:00+00:00"}
    outage = (State.PENDING, Cause.PROVIDER_OUTAGE, LIKELY, remedy, since)
    assert (found.state, found.cause, found.certainty, found.remedy, found.detail) == outage
    assert found.evidence == about


AVAILABLE, UNAVAILABLE, UNSAID = (
    userinfo(lapsed(), calendars=(calendar(integrated=integrated),)) for integrated in (True, False, None)
)


@pytest.mark.parametrize(
    ("age", "left", "want"),
    labelled(
        ("at ESCALATE_BEFORE", HOUR, HOUR, OUTAGE),
        ("nearer", HOUR, HOUR - TICK, LONG_OUTAGE),
        ("nearer, younger than GRACE", 2 * MINUTE - TICK, 10 * MINUTE, OUTAGE),
        ("nearer, at GRACE", 2 * MINUTE, 10 * MINUTE, LONG_OUTAGE),
    ),
)
def test_an_outage_near_the_start(age: timedelta, left: timedelta, want: Want) -> None:
    """It is waited out, but a person knows of it before the meeting starts."""
    verify(request(age=age, notice=failing()), seen(at(NOW + left)), CONNECTED, want)


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    labelled(
        ("default, its only profile lapsed", request("default"), EXPIRED, generating(LIKELY)),
        ("default, one of two lapsed", request("default", 10 * MINUTE), FIRST_LAPSED, generating(LIKELY)),
        ("default, no list", request("default"), NO_LIST, generating(LIKELY)),
        ("default, missing", request("default", notice=MISSING), userinfo(), generating(LIKELY)),
        ("not on record", request(None), EXPIRED, generating(LIKELY)),
        ("integrated, available", request("integrated", 10 * MINUTE), AVAILABLE, generating(LIKELY)),
        ("unavailable, young", request("integrated", 2 * MINUTE - TICK), UNAVAILABLE, generating(LIKELY)),
        ("unavailable, at GRACE", request("integrated", 2 * MINUTE), UNAVAILABLE, NO_URL_INFERRED),
        ("integrated, not said", request("integrated", 10 * MINUTE), UNSAID, generating(LIKELY)),
        (
            "calendar not listed",
            request("integrated", HOUR, calendar_id="x"),
            UNAVAILABLE,
            generating(LIKELY),
        ),
        ("explicit, old: nobody to ask", request("explicit", 2 * DAY), EXPIRED, UNEXPLAINED),
    ),
)
def test_what_cronofy_chooses(asked: Request, profiles: Profiles, want: Want) -> None:
    """An event that left the choice to Cronofy is explained as likely, never by guessing."""
    verify(asked, seen(), profiles, want)


@pytest.mark.parametrize("profiles", [CONNECTED, EXPIRED, ONE_OTHER])
@pytest.mark.parametrize("asked", [request(), request(age=2 * DAY), request(notice=failing())])
def test_conferencing_that_is_absent_is_diagnosed_as_pending(asked: Request, profiles: Profiles) -> None:
    """Only the evidence says whether Cronofy shows it as pending or not at all."""
    pending, absent = (
        diagnose(asked, Observation(seen(pending=shown), profiles), NOW, POLICY) for shown in (True, False)
    )

    first = "Conferencing was asked for, but Cronofy shows none on the event."
    assert absent == replace(pending, evidence=(first, *pending.evidence))


@pytest.mark.parametrize(
    ("policy", "want"),
    labelled(
        ("same provider", "same_provider", removed()),
        ("any connected", "any_connected", removed("pro_b", to="pro_b")),
        ("never", "never", removed()),
    ),
)
def test_replacement_policy(policy: str, want: Want) -> None:
    """The policy decides whether another provider's profile may replace a removed one."""
    observation = Observation(seen(), userinfo(profile("pro_b", provider="go_to")))

    found = diagnose(request(), observation, NOW, replace(POLICY, replacement=policy))

    assert (found.cause, found.remedy, of_interest(found)) == (want.cause, want.remedy, want.detail)
    assert found.detail["possible"] == ["pro_b", "integrated", "default"]
    assert found.detail["provider_name"] == "zoom"


def test_only_its_own_calendar_says_whether_it_has_conferencing() -> None:
    """Another calendar of the account has, which is no choice for this event."""
    another = replace(calendar(integrated=True), calendar_id="cal_2")
    profiles = userinfo(profile("pro_b", provider="go_to"), calendars=(calendar(integrated=False), another))

    found = diagnose(request(), Observation(seen(), profiles), NOW, POLICY)

    assert found.detail["possible"] == ["pro_b", "default"]


SAME, ANY, NEVER = (
    replace(POLICY, connect=True, replacement=word) for word in ("same_provider", "any_connected", "never")
)
GO_TO, LEES_GO_TO = profile("pro_b", provider="go_to"), profile("pro_b", provider="go_to", name="lee")
LEES = profile("pro_b", name="lee")
TWO_LEES = userinfo(LEES, replace(LEES, profile_id="pro_c"))


@pytest.mark.parametrize(
    ("policy", "asked", "profiles", "want"),
    labelled(
        ("none is left", SAME, request(), NO_LIST, replace(asked_to_connect(), certainty=LIKELY)),
        ("none that is connected", SAME, request(), userinfo(lapsed("pro_b")), asked_to_connect()),
        ("theirs is of another service", SAME, request(), userinfo(GO_TO), asked_to_connect()),
        ("another's fits", SAME, request(), userinfo(LEES), asked_to_connect("pro_b")),
        (
            "two fit, neither is theirs",
            SAME,
            request(),
            TWO_LEES,
            asked_to_connect("pro_b", "pro_c"),
        ),
        (
            "two fit, one is theirs",
            SAME,
            request(),
            userinfo(LEES, profile("pro_c")),
            removed("pro_b", "pro_c"),
        ),
        ("theirs was tried", SAME, request(wrote=frozenset({"pro_b"})), ONE_OTHER, removed("pro_b")),
        ("any may be set, another's fits", ANY, request(), userinfo(LEES_GO_TO), asked_to_connect("pro_b")),
        (
            "any may be set, theirs was tried",
            ANY,
            request(wrote=frozenset({"pro_b"})),
            userinfo(GO_TO),
            removed("pro_b"),
        ),
        (
            "not a service to connect so",
            SAME,
            request(provider_name="google_meet_api"),
            userinfo(),
            removed(),
        ),
        ("its service is unknown", SAME, request(provider_name=None), userinfo(), removed()),
        ("by policy a person chooses", NEVER, request(), userinfo(), removed()),
        ("a person chose", SAME, request(chosen=Chosen("pro_c", "Dana")), TWO_OTHERS, by_dana("pro_c")),
        (
            "what a person chose is gone too",
            SAME,
            request(chosen=Chosen("pro_x", "Dana")),
            TWO_LEES,
            by_dana(),
        ),
        ("one is set without asking", SAME, request(), ONE_OTHER, removed("pro_b", to="pro_b")),
    ),
)
def test_who_is_asked_to_connect_a_service(
    policy: Policy, asked: Request, profiles: Profiles, want: Want
) -> None:
    """Its user, if our link can help, no profile there is known to be theirs, and no person decides."""
    verify(asked, seen(), profiles, want, policy)
