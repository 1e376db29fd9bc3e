"""Parsing Cronofy's answers: lenient where they may grow, strict where they are evidence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cronofy.errors import Malformed
from worker.cronofy.wire import (
    BatchEntry,
    read_batch,
    read_event,
    read_page,
    read_sighting,
    read_tokens,
    read_userinfo,
    slim,
)

PLANTED = "planted-value"
START = "2026-12-01T09:00:00Z"
EVENT = {
    "calendar_id": "cal",
    "event_id": "e1",
    "event_uid": "evt_1",
    "summary": "Interview",
    "start": START,
    "end": "2026-12-01T09:30:00Z",
    "deleted": False,
    "created": "2026-11-20T08:00:00Z",
    "conferencing": {"pending": True},
}
ZOOM = {"provider_name": "zoom", "profile_id": "pro_1", "profile_name": "dana", "profile_connected": True}


def an_event(**fields: Any) -> dict[str, Any]:
    """A managed event as in a read."""
    return {**EVENT, **fields}


def an_info(**data: Any) -> dict[str, Any]:
    """A UserInfo with these fields under ``cronofy.data``."""
    return {"sub": "acc", "email": "dana@example.org", "cronofy.type": "account", "cronofy.data": data}


LINK = "https://z.example/1"


@pytest.mark.parametrize(
    ("conferencing", "seen"),
    [
        pytest.param({"pending": True}, (True, None, None), id="pending"),
        pytest.param({"provider_name": "zoom", "join_url": LINK}, (False, LINK, "zoom"), id="assigned"),
        pytest.param({"join_url": LINK}, (False, LINK, None), id="assigned, link only"),
        pytest.param({"join_url": "", "pending": True}, (True, None, None), id="an empty link"),
        pytest.param({"join_url": None, "provider_name": None}, (False, None, None), id="a null link"),
        pytest.param({"pending": True, "since": 1, "pin": [7]}, (True, None, None), id="unknown fields"),
        pytest.param(None, (False, None, None), id="null"),
        pytest.param(..., (False, None, None), id="absent"),
    ],
)
def test_conferencing_is_read_by_its_link(
    conferencing: Any, seen: tuple[bool, str | None, str | None]
) -> None:
    """A link that is not empty means assigned; the provider's name may be missing."""
    answer = an_event(conferencing=conferencing)
    if conferencing is ...:
        del answer["conferencing"]
    event = read_event(answer, None)
    assert (event.pending, event.join_url, event.provider_name) == seen


PARIS = "Europe/Paris"
TIMES = [
    # label, start, the caller's zone, the instant, whether it is all day
    ("UTC", START, None, START, False),
    ("localised", {"time": "2026-12-01T10:00:00+01:00", "tzid": PARIS}, None, START, False),
    ("all day", "2026-12-01", PARIS, "2026-11-30T23:00Z", True),
    ("all day, localised", {"time": "2026-12-01", "tzid": "Asia/Tokyo"}, None, "2026-11-30T15:00Z", True),
    ("without an offset", "2026-12-01T09:00:00", PARIS, "2026-12-01T08:00Z", False),
    ("as C# writes", "2026-12-01 09:00:00Z", None, START, False),
]


@pytest.mark.parametrize(
    ("start", "tzid", "instant", "all_day"), [pytest.param(*row[1:], id=row[0]) for row in TIMES]
)
def test_times_are_read_in_their_zone(start: Any, tzid: str | None, instant: str, all_day: bool) -> None:
    """Instants, local times and whole days; the original value is kept."""
    seen = read_event(an_event(start=start), tzid).start
    assert seen is not None
    assert (seen.instant, seen.all_day, seen.wire) == (datetime.fromisoformat(instant), all_day, start)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
#: Values that no documentation promises, and none rules out.
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    10**400,
    "",
    " ",
    "unheard_of",
    "\ud800",
    "x" * 100_000,
    "0000-12-29T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    [],
    [None],
    {},
    {"time": 7, "tzid": []},
]
#: What an event may have beside its ids, its start, its link and whether it is deleted (reference §2).
OPTIONAL = (
    *("event_uid", "google_event_id", "summary", "description", "end", "created", "updated", "location"),
    *("participation_status", "attendees", "organizer", "transparency", "extended_transparency", "status"),
    *("categories", "recurring", "series_identifier", "event_private", "meeting_url", "url", "options"),
)
KNOWN = [
    # label, the fields, and what is seen: whether it is deleted, and its link
    pytest.param({"conferencing": {"join_url": LINK}}, False, LINK, id="assigned"),
    pytest.param({"deleted": True}, True, None, id="deleted"),
    pytest.param({}, False, None, id="pending"),
]


def with_odd(fields: dict[str, Any], odd: dict[str, Any]) -> dict[str, Any]:
    """An event with these fields and these odd ones, which `conferencing` and `start` have some of, too."""
    inside = {name: odd[name] for name in ("provider_name", "pending", "pin") if name in odd}
    start = {"time": START, **({"tzid": odd["tzid"]} if "tzid" in odd else {})}
    event = {**an_event(start=start), **{name: odd[name] for name in odd if name in OPTIONAL}, **fields}
    return {**event, "conferencing": {**event["conferencing"], **inside}}


@pytest.mark.parametrize(("fields", "deleted", "link"), KNOWN)
@given(
    odd=st.dictionaries(
        st.sampled_from([*OPTIONAL, "provider_name", "pending", "pin", "tzid"]),
        st.sampled_from(ODD) | JSON,
        max_size=4,
    )
)
def test_an_odd_field_never_hides_an_event(
    fields: dict[str, Any], deleted: bool, link: str | None, odd: dict[str, Any]
) -> None:
    """Whatever an optional field holds: the link, the start and whether the event is deleted are read."""
    seen = read_event(with_odd(fields, odd), None)
    assert (seen.deleted, seen.join_url) == (deleted, link)
    assert seen.start is not None
    assert seen.start.instant == datetime.fromisoformat(START)
    for text in (seen.summary, seen.event_uid, seen.provider_name):
        assert text is None or text.encode() is not None


@pytest.mark.parametrize("name", [*OPTIONAL, "provider_name", "pending", "pin", "tzid"])
@pytest.mark.parametrize(("fields", "deleted", "link"), KNOWN)
def test_each_odd_value_leaves_each_event_visible(
    fields: dict[str, Any], deleted: bool, link: str | None, name: str
) -> None:
    """One by one."""
    for value in ODD:
        seen = read_event(with_odd(fields, {name: value}), None)
        assert (seen.deleted, seen.join_url, seen.start is not None) == (deleted, link, True), repr(value)[
            :99
        ]


NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def shown(day: int, uid: str = "evt_1", **fields: Any) -> dict[str, Any]:
    """An event of half an hour at nine o'clock on this day of December."""
    times = {name: f"2026-12-{day:02}T09:{minute}:00Z" for name, minute in (("start", "00"), ("end", "30"))}
    return an_event(event_uid=uid, **times, **fields)


RECURS: dict[str, Any] = {"recurring": True}
LINKED: dict[str, Any] = {"conferencing": {"join_url": LINK}}


@pytest.mark.parametrize(
    ("items", "series", "day"),
    [
        pytest.param([shown(8)], False, 8, id="one event"),
        pytest.param([shown(8, recurring=False, series_identifier=None)], False, 8, id="said to be one"),
        pytest.param([shown(8), shown(8, summary="Newer")], False, 8, id="the same, on two pages"),
        pytest.param([shown(8, "evt_0", deleted=True), shown(9)], False, 9, id="made again after a deletion"),
        pytest.param([shown(8, **RECURS)], True, 8, id="recurring"),
        pytest.param([shown(8, series_identifier="s1")], True, 8, id="with the name of a series"),
        pytest.param([shown(8, recurrence={"rules": []})], True, 8, id="with a rule"),
        pytest.param([shown(15), shown(8), shown(22)], True, 8, id="three occurrences, the next one counts"),
        pytest.param([shown(1), shown(8), shown(15)], True, 8, id="the first is over"),
        pytest.param([shown(8, "evt_1"), shown(8, "evt_2")], True, 8, id="two at one time"),
        pytest.param([shown(8, status="cancelled"), shown(15)], True, 15, id="the next is cancelled"),
        pytest.param([shown(8, deleted=True), shown(15), shown(22)], True, 15, id="the next is deleted"),
        pytest.param([shown(1), shown(1, "evt_2")], True, 1, id="all are over"),
        pytest.param([shown(1, **RECURS)], True, None, id="only one that is over: the first, perhaps"),
        pytest.param([shown(1, **RECURS, **LINKED)], True, 1, id="over with a link"),
    ],
)
def test_which_of_several_occurrences_counts(
    items: list[dict[str, Any]], series: bool, day: int | None
) -> None:
    """The next to come, however the read orders them; and whether the event is one of a series."""
    seen = read_sighting(items, None, NOW)

    start = seen.start.instant.day if seen.start else None
    assert (seen.series, start, seen.deleted, seen.cancelled) == (series, day, False, False)
    assert (seen.summary == "Newer") == any(item["summary"] == "Newer" for item in items)
    assert read_sighting(items, None, NOW, series=True).series


def test_a_series_ends_with_its_last_occurrence() -> None:
    """It is gone if all of it is deleted or cancelled, as one event is."""
    assert read_sighting([shown(8, deleted=True), shown(15, deleted=True)], None, NOW).deleted
    cancelled = [shown(8, status="cancelled"), shown(15, status="cancelled")]
    assert read_sighting(cancelled, None, NOW).cancelled


@pytest.mark.parametrize(
    ("fields", "kept", "unreadable"),
    [
        pytest.param({"location": {"description": "Room 1"}}, ["location"], (), id="location"),
        pytest.param({"description": "", "url": None}, ["description"], (), id="empty and null"),
        pytest.param({"event_private": False, "color": "red"}, ["color", "event_private"], (), id="others"),
        pytest.param({"location": "Room 1"}, [], ("location",), id="a location in another form"),
        pytest.param({"description": "\ud800"}, [], ("description",), id="a text that cannot be sent"),
        pytest.param({"reminders": [{"minutes": float("nan")}]}, [], ("reminders",), id="no number"),
        pytest.param({"reminders": {"minutes": 5}}, [], ("reminders",), id="reminders in another form"),
        pytest.param({"location": {"description": 5}}, [], ("location",), id="a location that is no text"),
        pytest.param({"attendees": [], "organizer": {}, "options": {}}, [], (), id="never written"),
    ],
)
def test_what_a_write_would_replace_is_kept(
    fields: dict[str, Any], kept: list[str], unreadable: tuple[str, ...]
) -> None:
    """As it is on the wire; what could not be sent back is named."""
    seen = read_event(slim(an_event(**fields)), None)

    assert seen.fields == {name: fields[name] for name in kept}
    assert seen.unreadable == unreadable


@pytest.mark.parametrize("value", ["0000-12-29T00:00:00Z", 7, "soon", {}], ids=str)
def test_a_settled_event_needs_no_start(value: Any) -> None:
    """Neither a link nor a deletion is hidden by a start that cannot be read."""
    assert read_event(an_event(start=value, conferencing={"join_url": LINK}), None).join_url == LINK
    assert read_event(an_event(start=value, deleted=True), None).deleted


@pytest.mark.parametrize(
    ("fields", "unreadable"),
    [
        pytest.param({}, (), id="none"),
        pytest.param({"end": None, "summary": None}, (), id="missing ones"),
        pytest.param({"end": "2026-02-30"}, ("end",), id="an end that does not exist"),
        pytest.param({"summary": [PLANTED]}, ("summary",), id="a summary that is a list"),
        pytest.param({"start": {"time": START, "tzid": 7}}, ("start",), id="a zone that is a number"),
    ],
)
def test_what_an_update_would_lose_is_named(fields: dict[str, Any], unreadable: tuple[str, ...]) -> None:
    """Start, end and summary go back as read, so one that was not read forbids the write."""
    assert read_event(an_event(**fields), None).unreadable == unreadable


HOLOGRAM = {**ZOOM, "provider_name": "hologram", "new": {}}
LEAST = {"profile_id": "pro_1", "profile_connected": False}


@pytest.mark.parametrize(
    ("data", "ids", "listed"),
    [
        pytest.param({"profiles": [], "conferencing_profiles": [ZOOM]}, ["pro_1"], True, id="one"),
        pytest.param({"conferencing_profiles": []}, [], True, id="an empty list"),
        pytest.param({"profiles": []}, [], False, id="no list"),
        pytest.param({"profiles": [], "conferencing_profiles": None}, [], False, id="a null list"),
        pytest.param({"conferencing_profiles": [HOLOGRAM]}, ["pro_1"], True, id="an unknown provider"),
        pytest.param({"conferencing_profiles": [LEAST]}, ["pro_1"], True, id="the least"),
    ],
)
def test_conferencing_profiles_are_those_that_are_listed(
    data: dict[str, Any], ids: list[str], listed: bool
) -> None:
    """Whether there was a list at all is recorded, since a missing one proves less."""
    profiles = read_userinfo(an_info(**data), "acc").profiles
    assert ([p.profile_id for p in profiles.conferencing], profiles.listed) == (ids, listed)


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_an_odd_field_never_hides_a_profile(value: Any) -> None:
    """Its id and whether it is connected are read, whatever its other fields hold."""
    names = ("provider_name", "profile_name", "profile_relink_url")
    calendar = {"calendar_id": "cal", "calendar_integrated_conferencing_available": value}
    odd = {**ZOOM, **dict.fromkeys(names, value)}
    answer = an_info(profiles=[{**odd, "profile_calendars": [calendar]}], conferencing_profiles=[odd])
    info = read_userinfo({**answer, "email": value, "cronofy.type": value}, "acc")

    (profile,) = info.profiles.conferencing
    assert (profile.profile_id, profile.connected) == ("pro_1", True)
    assert [calendar.calendar_id for calendar in info.profiles.calendars] == ["cal"]
    assert info.email is None or info.email.encode() is not None


NAMELESS = {**ZOOM, "profile_calendars": [{"calendar_id": None}]}


def event_of(fields: dict[str, Any]) -> Any:
    """Read an event with these fields."""
    return read_event(an_event(**fields), None)


def userinfo(answer: Any) -> Any:
    """Read the account's UserInfo."""
    return read_userinfo(answer, "acc")


def info_of(answer: dict[str, Any]) -> Any:
    """Read a UserInfo with these fields."""
    return userinfo({**an_info(profiles=[]), **answer})


def profiles_of(data: dict[str, Any]) -> Any:
    """Read a UserInfo with these profiles."""
    return userinfo(an_info(**data))


def zoom_of(fields: dict[str, Any]) -> Any:
    """Read a UserInfo whose profile has these fields."""
    return profiles_of({"conferencing_profiles": [{**ZOOM, **fields}]})


@pytest.mark.parametrize(
    ("status", "cancelled"),
    [("confirmed", False), ("cancelled", True), ("a word to come", False), (None, False), (7, False)],
)
def test_only_one_status_says_that_an_event_is_cancelled(status: Any, cancelled: bool) -> None:
    """Any other value, even one that is not documented, says nothing."""
    assert read_event(an_event(status=status), None).cancelled is cancelled


def batch_of(entries: Any) -> Any:
    """Read the answer to a batch of one."""
    return read_batch({"batch": entries}, 1)


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        pytest.param(event_of, {"start": PLANTED}, id="a start in words"),
        pytest.param(event_of, {"start": {"tzid": "UTC"}}, id="a start without a time"),
        pytest.param(event_of, {"deleted": "false"}, id="deleted in words"),
        pytest.param(event_of, {"conferencing": {"join_url": 7}}, id="a link that is a number"),
        pytest.param(event_of, {"conferencing": [PLANTED]}, id="conferencing that is a list"),
        pytest.param(userinfo, {}, id="an empty UserInfo"),
        pytest.param(info_of, {"sub": "acc_other"}, id="another account's"),
        pytest.param(info_of, {"sub": 7}, id="a sub that is a number"),
        pytest.param(userinfo, {"sub": "acc", "cronofy.type": "account"}, id="no data"),
        pytest.param(userinfo, {"sub": "acc", "cronofy": {"data": {"profiles": []}}}, id="data, no dot"),
        pytest.param(profiles_of, {}, id="no profiles of any kind"),
        pytest.param(profiles_of, {"profiles": {}}, id="profiles that are an object"),
        pytest.param(profiles_of, {"conferencing_profiles": [PLANTED]}, id="a profile in words"),
        pytest.param(zoom_of, {"profile_id": ""}, id="an empty id"),
        pytest.param(zoom_of, {"profile_id": 7}, id="an id that is a number"),
        pytest.param(zoom_of, {"profile_connected": "false"}, id="connected in words"),
        pytest.param(profiles_of, {"conferencing_profiles": [{"profile_id": "pro_1"}]}, id="not connected?"),
        pytest.param(profiles_of, {"profiles": [NAMELESS]}, id="a calendar without an id"),
        pytest.param(read_tokens, {}, id="no token"),
        pytest.param(read_tokens, {"access_token": ""}, id="an empty token"),
        pytest.param(read_tokens, {"access_token": [PLANTED]}, id="a token that is a list"),
        pytest.param(read_tokens, {"access_token": "a", "refresh_token": {}}, id="an object for a token"),
        pytest.param(batch_of, None, id="no batch"),
    ],
)
def test_malformed_answers_are_rejected(read: Callable[[Any], Any], answer: Any) -> None:
    """They are an error naming the place, not the value, and never evidence, as of a removed profile."""
    with pytest.raises(Malformed) as caught:
        read(answer)
    assert PLANTED not in str(caught.value)


def test_a_service_account_is_named_as_such() -> None:
    """Whoever connected it is told what to connect instead."""
    answer = {"sub": "ser_1", "cronofy.type": "service_account", "cronofy.data": {"authorization": {}}}
    with pytest.raises(Malformed, match="service account"):
        read_userinfo(answer, "ser_1")


def next_page(pages: dict[str, Any]) -> Any:
    """Read the address of the next page."""
    return read_page({"events": [], **pages}).pages.next_page


@pytest.mark.parametrize(
    ("read", "answer", "seen"),
    [
        pytest.param(read_tokens, {"access_token": "a", "refresh_token": "r"}, ("a", "r"), id="both tokens"),
        pytest.param(read_tokens, {"access_token": "a"}, ("a", None), id="access only"),
        pytest.param(read_tokens, {"access_token": "a", "refresh_token": ""}, ("a", None), id="an empty one"),
        pytest.param(read_tokens, {"access_token": "a", "refresh_token": None}, ("a", None), id="a null one"),
        pytest.param(next_page, {"pages": {"current": 1, "total": 1}}, None, id="the last page"),
        pytest.param(next_page, {"pages": {"next_page": None}}, None, id="a null page"),
        pytest.param(next_page, {}, None, id="no pages"),
        pytest.param(next_page, {"pages": {"next_page": "https://x/2"}}, "https://x/2", id="one more page"),
    ],
)
def test_what_may_be_missing_is_none(read: Callable[[Any], Any], answer: dict[str, Any], seen: Any) -> None:
    """A refresh token that is not replaced, and a next page."""
    assert read(answer) == seen


@pytest.mark.parametrize("length", [0, 2])
def test_a_batch_has_one_entry_for_each_request(length: int) -> None:
    """One per request, in order."""
    entries = [{"status": 202 + n} for n in range(length)]
    assert read_batch({"batch": entries}, length) == [BatchEntry(202 + n) for n in range(length)]
    for wrong in (length + 1, length - 1):
        with pytest.raises(Malformed):
            read_batch({"batch": entries}, wrong)


@given(
    fields=st.fixed_dictionaries(
        {}, optional=dict.fromkeys((*EVENT, "tzid"), JSON | st.text("0123456789-:TZ+", max_size=25))
    ),
    tzid=st.none() | st.text(max_size=8),
)
def test_any_event_is_read_or_malformed(fields: dict[str, Any], tzid: str | None) -> None:
    """No other exception."""
    try:
        seen = read_event({**EVENT, **fields}, tzid)
    except Malformed:
        return
    assert seen.join_url != ""


@given(
    fields=st.dictionaries(
        st.sampled_from(["sub", "email", "cronofy.type", "cronofy.data"]),
        JSON | st.dictionaries(st.sampled_from(["profiles", "conferencing_profiles"]), JSON, max_size=2),
        max_size=3,
    )
)
def test_any_userinfo_is_read_or_malformed(fields: dict[str, Any]) -> None:
    """No other exception, and the result is about the requested account."""
    try:
        info = read_userinfo({**an_info(conferencing_profiles=[ZOOM]), **fields}, "acc")
    except Malformed:
        return
    assert info.email is None or isinstance(info.email, str)
