"""Parsing Cronofy's answers: lenient where they may grow, strict where they are evidence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.cronofy.errors import Malformed
from worker.cronofy.wire import (
    read_batch,
    read_event,
    read_page,
    read_tokens,
    read_userinfo,
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
ZOOM = {
    "provider_name": "zoom",
    "profile_id": "pro_1",
    "profile_name": "dana@example.org",
    "profile_connected": True,
}


def an_event(**fields: Any) -> dict[str, Any]:
    """A managed event as in a read."""
    return {**EVENT, **fields}


def an_info(**data: Any) -> dict[str, Any]:
    """A UserInfo with these fields under ``cronofy.data``."""
    return {"sub": "acc", "email": "dana@example.org", "cronofy.type": "account", "cronofy.data": data}


CONFERENCING: list[tuple[str, Any, tuple[bool, str | None, str | None]]] = [
    ("pending", {"pending": True}, (True, None, None)),
    (
        "assigned",
        {"provider_name": "zoom", "join_url": "https://z.example/1"},
        (False, "https://z.example/1", "zoom"),
    ),
    ("assigned, link only", {"join_url": "https://z.example/1"}, (False, "https://z.example/1", None)),
    ("an empty link", {"join_url": "", "pending": True}, (True, None, None)),
    ("a null link", {"join_url": None, "provider_name": None}, (False, None, None)),
    ("unknown fields", {"pending": True, "since": 1, "pin": [7]}, (True, None, None)),
    ("none", None, (False, None, None)),
]


@pytest.mark.parametrize(
    ("conferencing", "seen"), [row[1:] for row in CONFERENCING], ids=[row[0] for row in CONFERENCING]
)
def test_conferencing_is_read_by_its_link(
    conferencing: Any, seen: tuple[bool, str | None, str | None]
) -> None:
    """A link that is not empty means assigned; the provider's name may be missing."""
    event = read_event(an_event(conferencing=conferencing), None)

    assert (event.pending, event.join_url, event.provider_name) == seen


def test_an_event_without_conferencing_is_not_pending() -> None:
    """The key may be absent."""
    event = read_event({name: value for name, value in EVENT.items() if name != "conferencing"}, None)

    assert (event.pending, event.join_url) == (False, None)


TIMES = [
    ("UTC", START, None, datetime(2026, 12, 1, 9, tzinfo=UTC), False),
    (
        "localised",
        {"time": "2026-12-01T10:00:00+01:00", "tzid": "Europe/Paris"},
        None,
        datetime(2026, 12, 1, 9, tzinfo=UTC),
        False,
    ),
    ("all day", "2026-12-01", "Europe/Paris", datetime(2026, 11, 30, 23, tzinfo=UTC), True),
    (
        "all day, localised",
        {"time": "2026-12-01", "tzid": "Asia/Tokyo"},
        "Europe/Paris",
        datetime(2026, 11, 30, 15, tzinfo=UTC),
        True,
    ),
    (
        "without an offset",
        "2026-12-01T09:00:00",
        "Europe/Paris",
        datetime(2026, 12, 1, 8, tzinfo=UTC),
        False,
    ),
    ("as C# writes", "2026-12-01 09:00:00Z", None, datetime(2026, 12, 1, 9, tzinfo=UTC), False),
]


@pytest.mark.parametrize(
    ("start", "tzid", "instant", "all_day"), [row[1:] for row in TIMES], ids=[row[0] for row in TIMES]
)
def test_times_are_read_in_their_zone(start: Any, tzid: str | None, instant: datetime, all_day: bool) -> None:
    """Instants, local times and whole days; the original value is kept."""
    seen = read_event(an_event(start=start), tzid).start

    assert seen is not None
    assert (seen.instant, seen.all_day, seen.wire) == (instant, all_day, start)


@pytest.mark.parametrize(
    ("fields"),
    [
        pytest.param({"start": PLANTED}, id="a start in words"),
        pytest.param({"start": {"tzid": "UTC"}}, id="a start without a time"),
        pytest.param({"start": {"time": START, "tzid": 7}}, id="a zone that is a number"),
        pytest.param({"end": "2026-02-30"}, id="an end that does not exist"),
        pytest.param({"deleted": "false"}, id="deleted in words"),
        pytest.param({"conferencing": {"pending": "true"}}, id="pending in words"),
        pytest.param({"conferencing": {"join_url": 7}}, id="a link that is a number"),
        pytest.param({"conferencing": [PLANTED]}, id="conferencing that is a list"),
        pytest.param({"summary": [PLANTED]}, id="a summary that is a list"),
        pytest.param({"created": PLANTED}, id="created in words"),
        pytest.param({"created": "0001-01-01T00:00:00+14:00"}, id="created before all dates"),
    ],
)
def test_malformed_events_are_rejected(fields: dict[str, Any]) -> None:
    """They are an error naming the place, not the value, and never evidence."""
    with pytest.raises(Malformed) as caught:
        read_event(an_event(**fields), None)

    assert PLANTED not in str(caught.value)
    assert not caught.value.permanent


PROFILES = [
    pytest.param(an_info(profiles=[], conferencing_profiles=[ZOOM]), ["pro_1"], True, id="one"),
    pytest.param(an_info(conferencing_profiles=[]), [], True, id="an empty list"),
    pytest.param(an_info(profiles=[]), [], False, id="no list"),
    pytest.param(an_info(profiles=[], conferencing_profiles=None), [], False, id="a null list"),
    pytest.param(
        an_info(conferencing_profiles=[{**ZOOM, "provider_name": "hologram", "new": {}}]),
        ["pro_1"],
        True,
        id="an unknown provider",
    ),
    pytest.param(
        an_info(conferencing_profiles=[{"profile_id": "pro_1", "profile_connected": False}]),
        ["pro_1"],
        True,
        id="the least",
    ),
]


@pytest.mark.parametrize(("answer", "ids", "listed"), PROFILES)
def test_conferencing_profiles_are_those_that_are_listed(
    answer: dict[str, Any], ids: list[str], listed: bool
) -> None:
    """Whether there was a list at all is recorded, since a missing one proves less."""
    profiles = read_userinfo(answer, "acc").profiles

    assert ([p.profile_id for p in profiles.conferencing], profiles.listed) == (ids, listed)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="empty"),
        pytest.param({**an_info(profiles=[]), "sub": "acc_other"}, id="another account's"),
        pytest.param({**an_info(profiles=[]), "sub": 7}, id="a sub that is a number"),
        pytest.param({"sub": "acc", "cronofy.type": "account"}, id="no data"),
        pytest.param({"sub": "acc", "cronofy": {"data": {"profiles": []}}}, id="data without its dot"),
        pytest.param(an_info(), id="no profiles of any kind"),
        pytest.param(an_info(profiles={}), id="profiles that are an object"),
        pytest.param(an_info(conferencing_profiles=[PLANTED]), id="a profile in words"),
        pytest.param(an_info(conferencing_profiles=[{**ZOOM, "profile_id": ""}]), id="an empty id"),
        pytest.param(an_info(conferencing_profiles=[{**ZOOM, "profile_id": 7}]), id="an id that is a number"),
        pytest.param(
            an_info(conferencing_profiles=[{**ZOOM, "profile_connected": "false"}]), id="connected in words"
        ),
        pytest.param(an_info(conferencing_profiles=[{"profile_id": "pro_1"}]), id="connected or not"),
        pytest.param(
            an_info(profiles=[{**ZOOM, "profile_calendars": [{"calendar_id": None}]}]),
            id="a calendar without an id",
        ),
        pytest.param({**an_info(profiles=[]), "email": [PLANTED]}, id="an address that is a list"),
        pytest.param({**an_info(profiles=[]), "cronofy.type": "service_account"}, id="a service account"),
    ],
)
def test_malformed_userinfo_is_rejected(answer: dict[str, Any]) -> None:
    """A malformed answer never makes a profile count as removed."""
    with pytest.raises(Malformed) as caught:
        read_userinfo(answer, "acc")

    assert PLANTED not in str(caught.value)


def test_a_service_account_is_named_as_such() -> None:
    """Whoever connected it is told what to connect instead."""
    answer = {"sub": "ser_1", "cronofy.type": "service_account", "cronofy.data": {"authorization": {}}}

    with pytest.raises(Malformed, match="service account"):
        read_userinfo(answer, "ser_1")


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        pytest.param({"access_token": "a", "refresh_token": "r", "expires_in": 1}, ("a", "r"), id="both"),
        pytest.param({"access_token": "a"}, ("a", None), id="access only"),
        pytest.param({"access_token": "a", "refresh_token": ""}, ("a", None), id="an empty refresh token"),
        pytest.param({"access_token": "a", "refresh_token": None}, ("a", None), id="a null refresh token"),
    ],
)
def test_tokens_are_read(answer: dict[str, Any], tokens: tuple[str, str | None]) -> None:
    """A refresh token that is not replaced is None."""
    assert read_tokens(answer) == tokens


@pytest.mark.parametrize(
    "answer",
    [{}, {"access_token": ""}, {"access_token": [PLANTED]}, {"access_token": "a", "refresh_token": {}}],
    ids=["nothing", "empty", "a list", "an object"],
)
def test_tokens_that_are_none_are_malformed(answer: dict[str, Any]) -> None:
    """The error does not repeat the answer."""
    with pytest.raises(Malformed) as caught:
        read_tokens(answer)

    assert PLANTED not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "next_page"),
    [
        pytest.param({"events": [], "pages": {"current": 1, "total": 1}}, None, id="the last"),
        pytest.param({"events": [], "pages": {"next_page": None}}, None, id="a null"),
        pytest.param({"events": []}, None, id="no pages"),
        pytest.param({"events": [], "pages": {"next_page": "https://x/2"}}, "https://x/2", id="one more"),
    ],
)
def test_a_page_names_the_next_one(answer: dict[str, Any], next_page: str | None) -> None:
    """By its address, or not at all."""
    assert read_page(answer).pages.next_page == next_page


@pytest.mark.parametrize("length", [0, 2])
def test_a_batch_has_one_entry_for_each_request(length: int) -> None:
    """One per request, in order."""
    entries = [{"status": 202 + n} for n in range(length)]

    assert read_batch({"batch": entries}, length) == entries
    for wrong in (length + 1, length - 1):
        with pytest.raises(Malformed):
            read_batch({"batch": entries}, wrong)


@pytest.mark.parametrize("batch", [None, [{}], [{"status": "202"}]], ids=["none", "no status", "in words"])
def test_malformed_batch_answers_are_rejected(batch: Any) -> None:
    """An entry needs a numeric status."""
    with pytest.raises(Malformed):
        read_batch({"batch": batch}, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
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


@settings(max_examples=200, deadline=None, derandomize=True)
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
