"""The last resort: which rung comes next for an event, and when (contract §6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import (
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    TICK,
    URL,
    at,
    calendar,
    failing,
    labelled,
    lapsed,
    profile,
    request,
    seen,
    userinfo,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.fallback import is_room
from worker.diagnosis.model import (
    Cause,
    Diagnosis,
    LastResort,
    Missing,
    Observation,
    Policy,
    Profiles,
    Remedy,
    Request,
    Rung,
    Seen,
    State,
    TokenOwed,
    Unauthorized,
)
from worker.diagnosis.schedule import is_at_hand, next_look

ANY, OWN, ROOM = Rung.ANY_CONNECTED, Rung.INTEGRATED, Rung.EXPLICIT
ALL = replace(POLICY, fallback=(ANY, OWN, ROOM), fallback_url="https://meet.example.com/r/{key}?a=1")
OWN_ONE = (calendar(integrated=True),)
#: The event's own profile is disconnected, another is connected, and so is the calendar's own service.
LAPSED = userinfo(lapsed("pro_a"), profile("pro_b"), calendars=OWN_ONE)
OWN_ALONE = userinfo(lapsed(), calendars=OWN_ONE)
NONE_THERE = userinfo(lapsed(), calendars=(calendar(integrated=False),))
UNSAID = userinfo(lapsed(), calendars=(calendar(),))
CALENDAR_LAPSED = userinfo(lapsed(), calendars=(calendar(lapsed("pro_g"), integrated=True),))
NAMELESS = userinfo(lapsed(), profile("pro_b", provider=None))
ITS_OWN_SAID = "the calendar's own conferencing, which UserInfo says it has"
ITS_OWN, THE_ROOM = (OWN, "integrated"), (ROOM, "explicit")
WORKING = userinfo(profile("pro_a"), profile("pro_b"), calendars=OWN_ONE)


def found(
    left: timedelta,
    asked: Request | None = None,
    profiles: Profiles | None = LAPSED,
    policy: Policy = ALL,
    **changed: Any,
) -> Diagnosis:
    """The diagnosis of an event that starts after `left`, by default long pending."""
    sighting = seen(at(NOW + left), **changed)
    return diagnose(asked or request(age=HOUR), Observation(sighting, profiles), NOW, policy)


def wrote(*what: str, age: timedelta = HOUR) -> Request:
    """An event that had these, and asked for the last of them."""
    asked = [name for name in what if name != ANY.mark]
    return request(asked[-1], age=age, wrote=frozenset(what))


@pytest.mark.parametrize(
    ("cause", "asked", "profiles"),
    labelled(
        ("disconnected", Cause.CREDENTIALS_EXPIRED, request(age=HOUR), LAPSED),
        (
            "removed, by policy not replaced",
            Cause.PROFILE_REMOVED,
            request(age=HOUR, provider_name="ms_teams"),
            userinfo(profile("pro_b"), calendars=OWN_ONE),
        ),
        ("an outage", Cause.PROVIDER_OUTAGE, request(age=HOUR, notice=failing()), WORKING),
        (
            "no meeting URL",
            Cause.MISSING_MEETING_URL,
            request(age=HOUR, notice=failing("missing_meeting_url")),
            WORKING,
        ),
        ("no visible reason", Cause.UNEXPLAINED, request(age=HOUR), WORKING),
    ),
)
def test_whatever_the_cause_the_first_rung_that_fits_is_the_remedy(
    cause: Cause, asked: Request, profiles: Profiles
) -> None:
    """From the set time before the start; the cause stays, and a sentence says what is done."""
    before, then = (found(left, asked, profiles) for left in (15 * MINUTE + TICK, 15 * MINUTE))
    other = LastResort(ANY, "pro_b", NOW)

    assert (before.cause, then.cause) == (cause, cause)
    assert before.remedy is not Remedy.FALLBACK
    assert (then.state, then.remedy, then.last_resort) == (State.PENDING, Remedy.FALLBACK, other)
    said = "It starts in 15 minutes, so the last resort is the connected zoom profile pro_b."
    assert then.evidence[-1] == said
    assert said not in before.evidence
    assert before.as_json["detail"]["last_resort"] == {
        "rung": "any_connected",
        "to_profile_id": "pro_b",
        "at": (NOW + TICK).isoformat(),
    }


@pytest.mark.parametrize(
    "sighting",
    [
        seen(at(NOW - TICK)),
        seen(at(NOW)),
        seen(at(NOW + MINUTE), deleted=True),
        seen(at(NOW + MINUTE), cancelled=True),
        seen(at(NOW + MINUTE), join_url=URL),
        Missing(),
        Unauthorized("The grant is gone."),
        TokenOwed(NOW - HOUR),
    ],
    ids=["past", "starting", "deleted", "cancelled", "assigned", "missing", "refused", "no token"],
)
def test_what_must_not_be_written_gets_none(
    sighting: Seen | Missing | Unauthorized | TokenOwed,
) -> None:
    """However near its start."""
    asked = request(age=HOUR, start=at(NOW + MINUTE))
    assert diagnose(asked, Observation(sighting, LAPSED), NOW, ALL).last_resort is None


def test_it_is_off_by_default() -> None:
    """Without a list nothing changes, in no diagnosis."""
    off = found(MINUTE, policy=POLICY)

    assert (off.remedy, off.last_resort, "last_resort" in off.as_json["detail"]) == (
        Remedy.RELINK_EMAIL,
        None,
        False,
    )


@pytest.mark.parametrize(
    ("asked", "profiles", "next_one"),
    labelled(
        ("all are left", request(age=HOUR), LAPSED, (ANY, "pro_b")),
        ("the profile was tried", wrote("pro_b", ANY.mark), LAPSED, ITS_OWN),
        ("no other is connected", request(age=HOUR), OWN_ALONE, ITS_OWN),
        (
            "the other may be another person's",
            request(age=HOUR),
            userinfo(lapsed(), profile("pro_b", name="lee"), calendars=OWN_ONE),
            ITS_OWN,
        ),
        ("a replacement was set", wrote("pro_b"), LAPSED, ITS_OWN),
        ("two were tried", wrote("pro_b", ANY.mark, "integrated"), LAPSED, THE_ROOM),
        ("the calendar has none", request(age=HOUR), NONE_THERE, THE_ROOM),
        ("nobody says that it has", request(age=HOUR), UNSAID, THE_ROOM),
        ("another calendar has it", request(age=HOUR, calendar_id="cal_2"), OWN_ALONE, THE_ROOM),
        ("the calendar's profile is disconnected", request(age=HOUR), CALENDAR_LAPSED, THE_ROOM),
        ("it asked for the calendar's own", request("integrated", age=HOUR), OWN_ALONE, THE_ROOM),
        (
            "it asked for the calendar's own first",
            replace(wrote("pro_b", ANY.mark), first_asked="integrated"),
            LAPSED,
            THE_ROOM,
        ),
        (
            "the other is what it asked for first",
            replace(wrote("integrated"), first_asked="pro_b"),
            LAPSED,
            THE_ROOM,
        ),
        ("all were tried", wrote("pro_b", ANY.mark, "integrated", "explicit"), LAPSED, None),
    ),
)
def test_each_rung_comes_once_and_only_if_it_fits(
    asked: Request, profiles: Profiles, next_one: tuple[Rung, str] | None
) -> None:
    """In the order of the list."""
    planned = found(10 * MINUTE, asked, profiles).last_resort

    assert (planned and (planned.rung, planned.to_profile_id)) == next_one


@pytest.mark.parametrize(
    ("profiles", "asked", "chosen"),
    labelled(
        ("its provider first", (profile("a", provider="go_to"), profile("z")), request(age=HOUR), "z"),
        (
            "then by provider",
            (profile("b", provider="ms_teams"), profile("c", provider="go_to")),
            request(age=HOUR),
            "c",
        ),
        ("then by id", (profile("c"), profile("b")), request(age=HOUR), "b"),
        (
            "its provider last in an outage",
            (profile("b"), profile("z", provider="ms_teams")),
            request(age=HOUR, notice=failing()),
            "z",
        ),
        (
            "its provider is unknown",
            (profile("b", provider="go_to"), profile("c", provider=None)),
            request(age=HOUR, provider_name=None),
            "c",
        ),
    ),
)
def test_of_several_connected_profiles_always_the_same_is_chosen(
    profiles: tuple[Any, ...], asked: Request, chosen: str
) -> None:
    """In whatever order UserInfo lists them."""
    for listed in (profiles, profiles[::-1]):
        planned = found(10 * MINUTE, asked, userinfo(profile("pro_a"), *listed)).last_resort
        assert planned is not None
        assert planned.to_profile_id == chosen


@pytest.mark.parametrize(
    ("left", "age", "due"),
    labelled(
        ("long before", HOUR, 5 * MINUTE, 45 * MINUTE),
        ("just tracked", 10 * MINUTE, 30 * SECOND, 90 * SECOND),
        ("after a rung", 13 * MINUTE, timedelta(0), 2 * MINUTE),
        ("no time for the grace", 2 * MINUTE, timedelta(0), MINUTE),
        ("no time at all", 50 * SECOND, timedelta(0), timedelta(0)),
    ),
)
def test_while_it_merely_generates_it_has_its_grace(left: timedelta, age: timedelta, due: timedelta) -> None:
    """But not so long that there is no time left; the next look comes at that moment, not before."""
    diagnosis = found(left, request(age=age), WORKING)
    planned = diagnosis.last_resort

    assert planned is not None
    assert max(timedelta(0), planned.at - NOW) == due
    assert (diagnosis.remedy is Remedy.FALLBACK) is (due == timedelta(0))
    look = next_look(diagnosis, 6 * HOUR, NOW + left, NOW, ALL)
    assert look is not None
    assert look <= NOW + max(due, ALL.recheck_min)


def test_at_the_very_end_the_room_comes_first() -> None:
    """Any other link would still have to be made; without a room, the order stays."""
    without = replace(ALL, fallback=(ANY, OWN))

    assert _rung(found(MINUTE)) is ROOM
    assert _rung(found(MINUTE + TICK)) is ANY
    assert _rung(found(MINUTE, policy=without)) is ANY


def _rung(diagnosis: Diagnosis) -> Rung | None:
    return (
        diagnosis.last_resort.rung if diagnosis.remedy is Remedy.FALLBACK and diagnosis.last_resort else None
    )


def test_a_removed_profile_is_replaced_first() -> None:
    """The last resort waits for that until there is no time left."""
    gone = userinfo(profile("pro_b"), calendars=OWN_ONE)
    early, late = found(10 * MINUTE, profiles=gone), found(MINUTE, profiles=gone)

    assert (early.remedy, early.detail["to_profile_id"]) == (Remedy.REASSIGN_PROFILE, "pro_b")
    assert early.last_resort is not None
    assert early.last_resort.at == NOW + 9 * MINUTE
    assert _rung(late) is ROOM


@pytest.mark.parametrize(
    ("left", "profiles", "length", "said"),
    labelled(
        (
            "another profile",
            14 * MINUTE + 40 * SECOND,
            LAPSED,
            "15 minutes",
            "the connected zoom profile pro_b",
        ),
        (
            "of an unknown service",
            70 * SECOND,
            NAMELESS,
            "1 minute",
            "the connected conferencing profile pro_b",
        ),
        ("the calendar's own", 2 * MINUTE, OWN_ALONE, "2 minutes", ITS_OWN_SAID),
        ("the room", 20 * SECOND, LAPSED, "1 minute", "the company's own room"),
    ),
)
def test_a_sentence_says_what_is_set_and_why_now(
    left: timedelta, profiles: Profiles, length: str, said: str
) -> None:
    """In whole minutes, at least one."""
    assert found(left, profiles=profiles).evidence[-1] == (
        f"It starts in {length}, so the last resort is {said}."
    )


@pytest.mark.parametrize(("left", "said"), [(10 * MINUTE, True), (HOUR, False)], ids=["near", "far"])
def test_what_may_not_be_written_gets_none_and_says_why_in_time(left: timedelta, said: bool) -> None:
    """Whatever the cause, as for every write."""
    observation = Observation(seen(at(NOW + left)), LAPSED, "It is one of a series.")
    diagnosis = diagnose(request(age=HOUR), observation, NOW, ALL)

    assert (diagnosis.remedy, diagnosis.last_resort) == (Remedy.RELINK_EMAIL, None)
    assert ("It is one of a series." in diagnosis.evidence) is said


def test_an_event_without_a_known_start_has_no_last_moment() -> None:
    """Nothing says when it would be time."""
    asked, sighting = request(age=HOUR), replace(seen(), start=None)

    assert diagnose(asked, Observation(sighting, LAPSED), NOW, ALL).last_resort is None


def test_without_userinfo_nothing_is_decided() -> None:
    """A look that could not read it concludes nothing."""
    assert found(MINUTE, profiles=None).last_resort is None


@given(left=st.integers(1, 100_000), age=st.integers(0, 100_000), connected=st.booleans())
def test_a_look_is_planned_no_later_than_it_is_due(left: int, age: int, connected: bool) -> None:
    """For any event, at any time, the next look is not after the moment that the last resort is due."""
    start = NOW + left * SECOND
    diagnosis = found(left * SECOND, request(age=age * SECOND), WORKING if connected else LAPSED)
    look = next_look(diagnosis, 6 * HOUR, start, NOW, ALL)

    assert look is not None
    assert diagnosis.last_resort is not None
    assert (
        look <= max(diagnosis.last_resort.at, NOW + ALL.recheck_max)
        if (diagnosis.last_resort.at <= NOW)
        else look <= max(diagnosis.last_resort.at, NOW + ALL.recheck_min)
    )


@pytest.mark.parametrize(
    ("start", "policy", "near"),
    labelled(
        ("in time", NOW + 15 * MINUTE, ALL, True),
        ("earlier", NOW + 15 * MINUTE + TICK, ALL, False),
        ("started", NOW, ALL, False),
        ("unknown", None, ALL, False),
        ("off", NOW + MINUTE, POLICY, False),
    ),
)
def test_at_hand(start: datetime | None, policy: Policy, near: bool) -> None:
    """Between the set time before the start and the start."""
    assert is_at_hand(start, NOW, policy) is near


def test_a_room_is_known_by_its_address() -> None:
    """By what is before and after the key."""
    links = ["https://meet.example.com/r/abc?a=1", "https://meet.example.com/abc?a=1", URL, None]

    assert [is_room(link, ALL) for link in links] == [True, False, False, False]
    assert not is_room(links[0], POLICY)
