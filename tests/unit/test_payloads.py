"""Payloads: what callers may send, and the one sentence that says why not."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.intake.payloads import (
    AccountOnly,
    BadPayload,
    ConnectAccount,
    OneEvent,
    Payload,
    ReceiveNotification,
    TrackEvent,
    parse,
)

PLANTED = "planted-value"
EVENT = {
    "event_id": "e1",
    "summary": "Interview",
    "start": "2026-12-01T09:00:00Z",
    "end": "2026-12-01T09:30:00Z",
    "conferencing": {"profile_id": "pro_1"},
}
TRACK = {"sub": "acc", "calendar_id": "cal", "event": EVENT}
ONE = {"sub": "acc", "calendar_id": "cal", "event_id": "e1"}
CONNECT = {"sub": "acc", "refresh_token": "r"}
NOTIFICATION = {"body": "{}", "signature": "s"}
MODELS: list[type[Payload]] = [ConnectAccount, AccountOnly, TrackEvent, OneEvent, ReceiveNotification]


def an_event(**fields: Any) -> dict[str, Any]:
    """Arguments of `track` with these fields of the event; None omits one."""
    event = {name: value for name, value in {**EVENT, **fields}.items() if value is not None}
    return {**TRACK, "event": event}


def nested(depth: int) -> Any:
    """This many nested lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ALL = {"access_token": "a", "expires_in": 3600, "data_center": "de", "email": "d@example.org", "name": "Dana"}
ZONED = {"time": "2026-12-01T09:00:00+01:00", "tzid": "Europe/Paris"}
GOOD: list[tuple[str, type[Payload], dict[str, Any]]] = [
    ("connect", ConnectAccount, CONNECT),
    ("connect, all given", ConnectAccount, {**CONNECT, **ALL}),
    ("connect with an access token", ConnectAccount, {"sub": "acc", "access_token": "a", "expires_in": 0.5}),
    ("connect, nulls", ConnectAccount, {**CONNECT, "access_token": None, "email": None, "expires_in": None}),
    ("forget", AccountOnly, {"sub": "acc"}),
    ("track", TrackEvent, TRACK),
    ("track with a provider", TrackEvent, {**TRACK, "provider_name": "zoom"}),
    ("track without conferencing", TrackEvent, an_event(conferencing=None)),
    ("track without times", TrackEvent, an_event(start=None, end=None)),
    ("track all day", TrackEvent, an_event(start="2026-12-01", end="2026-12-02")),
    ("track with zones", TrackEvent, an_event(start=ZONED)),
    ("track as C# writes", TrackEvent, an_event(start="2026-12-01 09:00:00Z")),
    ("track unknown fields", TrackEvent, an_event(recurrence={"rrule": "FREQ=DAILY"}, colour="#fff")),
    ("track a long number", TrackEvent, an_event(number=10**40)),
    ("ids at their longest", OneEvent, {**ONE, "sub": "x" * 1024, "event_id": "ü" * 512}),
    ("odd ids", OneEvent, {"sub": ":", "calendar_id": "\n", "event_id": "🎉\0"}),
    ("notification", ReceiveNotification, NOTIFICATION),
    ("notification with ids", ReceiveNotification, {**NOTIFICATION, **ONE}),
    ("notification without a body", ReceiveNotification, {"body": "", "signature": ""}),
]


@pytest.mark.parametrize(("model", "kwargs"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD])
def test_a_payload_as_in_the_contract_is_accepted(model: type[Payload], kwargs: dict[str, Any]) -> None:
    """Every field is kept as given."""
    payload = parse(model, (), kwargs)

    assert {name: getattr(payload, name) for name in kwargs} == kwargs


def test_omitted_fields_have_the_contracts_default() -> None:
    """The data centre is `us`; everything else is unknown."""
    account = parse(ConnectAccount, (), CONNECT)

    assert {name: getattr(account, name) for name in ALL} == {**dict.fromkeys(ALL), "data_center": "us"}


def test_the_event_says_what_was_asked_for() -> None:
    """Its id and its profile come from the body."""
    for profile_id in ("pro_1", "default", None):
        block = {"profile_id": profile_id} if profile_id else None
        tracked = parse(TrackEvent, (), an_event(conferencing=block))
        assert (tracked.key.event_id, tracked.profile_id) == ("e1", profile_id)


PROFILE = "event.conferencing.profile_id"
NO_TOKEN = "Either refresh_token must be given, or access_token with expires_in."
ACCESS = {"sub": "acc", "access_token": PLANTED}
BAD = [
    # label, model, arguments, how the reason begins
    ("nothing", TrackEvent, {}, "sub: "),
    ("no sub", AccountOnly, {"sub": None}, "sub: "),
    ("an empty sub", AccountOnly, {"sub": ""}, "sub: "),
    ("a number for a sub", AccountOnly, {"sub": 7}, "sub: "),
    ("a list for a sub", AccountOnly, {"sub": [PLANTED]}, "sub: "),
    ("an unknown argument", AccountOnly, {"sub": "acc", "force": PLANTED}, "force: "),
    ("a sub too long", AccountOnly, {"sub": PLANTED * 100}, "sub: is longer than 1024 bytes"),
    ("too long in UTF-8", AccountOnly, {"sub": "ü" * 513}, "sub: is longer than 1024 bytes"),
    ("no token", ConnectAccount, {"sub": "acc"}, NO_TOKEN),
    ("an access token without its expiry", ConnectAccount, {"sub": "acc", "access_token": PLANTED}, NO_TOKEN),
    ("an expiry without a token", ConnectAccount, {"sub": "acc", "expires_in": 3600}, NO_TOKEN),
    ("an access token that expired", ConnectAccount, {**ACCESS, "expires_in": 0}, "expires_in must be above"),
    ("an expiry in milliseconds", ConnectAccount, {**ACCESS, "expires_in": 3.6e9}, "expires_in must be"),
    ("a value for a name", AccountOnly, {"sub": "acc", f"{PLANTED}9": "force"}, "An argument is unknown."),
    ("an empty refresh token", ConnectAccount, {**CONNECT, "refresh_token": ""}, "refresh_token: "),
    ("a token too long", ConnectAccount, {**CONNECT, "refresh_token": PLANTED * 700}, "refresh_token: "),
    ("an empty access token", ConnectAccount, {**CONNECT, "access_token": ""}, "access_token: "),
    ("an unknown data centre", ConnectAccount, {**CONNECT, "data_center": PLANTED}, "data_center: "),
    ("a data centre in capitals", ConnectAccount, {**CONNECT, "data_center": "DE"}, "data_center: "),
    ("an expiry in words", ConnectAccount, {**CONNECT, "expires_in": PLANTED}, "expires_in: "),
    ("an address that is a list", ConnectAccount, {**CONNECT, "email": [PLANTED]}, "email: "),
    ("a name too long", ConnectAccount, {**CONNECT, "name": PLANTED * 100}, "name: "),
    ("no event", TrackEvent, {"sub": "acc", "calendar_id": "cal"}, "event: "),
    ("an event that is text", TrackEvent, {**TRACK, "event": json.dumps(EVENT)}, "event: "),
    ("an event that is a list", TrackEvent, {**TRACK, "event": [EVENT]}, "event: "),
    ("no event id", TrackEvent, an_event(event_id=None), "event.event_id must"),
    ("an empty event id", TrackEvent, an_event(event_id=""), "event.event_id must"),
    ("a number for an event id", TrackEvent, an_event(event_id=77), "event.event_id must"),
    ("an event id too long", TrackEvent, an_event(event_id=PLANTED * 100), "event.event_id is longer"),
    ("conferencing that is text", TrackEvent, an_event(conferencing=PLANTED), PROFILE),
    ("conferencing without a profile", TrackEvent, an_event(conferencing={}), PROFILE),
    ("an empty profile", TrackEvent, an_event(conferencing={"profile_id": ""}), PROFILE),
    ("a start in words", TrackEvent, an_event(start=PLANTED), "event.start must be a time"),
    ("a start that is a number", TrackEvent, an_event(start=1), "event.start must be a time"),
    ("a day that does not exist", TrackEvent, an_event(start="2026-02-30"), "event.start must be a time"),
    ("an end without a time", TrackEvent, an_event(end={"tzid": "UTC"}), "event.end must be a time"),
    ("a zone that is not text", TrackEvent, an_event(end={**ZONED, "tzid": 1}), "event.end must be a time"),
    ("a provider that is a number", TrackEvent, {**TRACK, "provider_name": 7}, "provider_name: "),
    ("no event id to untrack", OneEvent, {"sub": "acc", "calendar_id": "cal"}, "event_id: "),
    ("an empty calendar", OneEvent, {**ONE, "calendar_id": ""}, "calendar_id: "),
    ("a body that is an object", ReceiveNotification, {**NOTIFICATION, "body": {"x": PLANTED}}, "body: "),
    ("no signature", ReceiveNotification, {"body": PLANTED}, "signature: "),
    ("a null signature", ReceiveNotification, {"body": PLANTED, "signature": None}, "signature: "),
    ("an empty id", ReceiveNotification, {**NOTIFICATION, "sub": ""}, "sub: "),
    ("not a number", TrackEvent, an_event(number=float("nan")), "A number is NaN or infinite"),
    ("infinite", TrackEvent, an_event(number=float("-inf")), "A number is NaN or infinite"),
    ("a lone surrogate", TrackEvent, an_event(summary=f"{PLANTED}\ud800"), "A string is not valid Unicode"),
    ("a lone surrogate in a key", TrackEvent, an_event(**{"\udfff": 1}), "A string is not valid Unicode"),
    ("a lone surrogate in an id", AccountOnly, {"sub": "\ud83d"}, "A string is not valid Unicode"),
    ("no JSON", AccountOnly, {"sub": b"acc"}, "The payload is not plain JSON"),
    ("a set", TrackEvent, an_event(tags={PLANTED}), "The payload is not plain JSON"),
    ("nested deeply", TrackEvent, an_event(deep=nested(40)), "The payload is nested more than"),
    ("nested without end", TrackEvent, an_event(deep=nested(100_000)), "The payload is"),
    ("too large", TrackEvent, an_event(description=PLANTED * 6000), "The payload is 78"),
    ("too large in UTF-8", TrackEvent, an_event(description="ü" * 40_000), "The payload is 80"),
]


@pytest.mark.parametrize(("model", "kwargs", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_payload_is_refused_with_its_place_and_without_its_value(
    model: type[Payload], kwargs: dict[str, Any], reason: str
) -> None:
    """One error: where, what is wrong, and nothing of the value."""
    with pytest.raises(BadPayload) as caught:
        parse(model, (), kwargs)

    told = f"{caught.value}"
    assert told.startswith(reason)
    assert "\n" not in told
    assert PLANTED not in told
    assert len(told) < 300
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("model", MODELS)
def test_positional_arguments_are_refused(model: type[Payload]) -> None:
    """The contract has only keyword arguments."""
    with pytest.raises(BadPayload, match="keyword") as caught:
        parse(model, (PLANTED,), {})

    assert PLANTED not in str(caught.value)


def test_the_largest_payload_is_taken() -> None:
    """64 KiB as JSON is accepted, one byte more is not."""
    empty = len(json.dumps(an_event(description=""), ensure_ascii=False).encode())
    room = 64 * 1024 - empty

    parse(TrackEvent, (), an_event(description="x" * room))
    with pytest.raises(BadPayload, match="65537 bytes"):
        parse(TrackEvent, (), an_event(description="x" * (room + 1)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.text("0123456789-:TZ+ ", max_size=20)
        for name in ("event_id", "start", "end", "conferencing", "tzid", "summary")
    },
)
NAMES = st.sampled_from([*CONNECT, *ONE, *NOTIFICATION, "event", "data_center", "x"])


@given(model=st.sampled_from(MODELS), kwargs=st.dictionaries(NAMES, JSON | EVENTS, max_size=6))
def test_anything_is_a_payload_or_a_bad_payload(model: type[Payload], kwargs: dict[str, Any]) -> None:
    """No other exception."""
    try:
        assert isinstance(parse(model, (), kwargs), model)
    except BadPayload as error:
        assert str(error)  # noqa: PT017


@given(event=EVENTS, event_id=st.text(min_size=1, max_size=5))
def test_any_event_is_tracked_or_refused(event: dict[str, Any], event_id: str) -> None:
    """An accepted body has its id, and a profile that is a text or None."""
    with suppress(BadPayload):
        tracked = parse(TrackEvent, (), {**TRACK, "event": {**event, "event_id": event_id}})
        assert tracked.key.event_id == event_id
        assert tracked.profile_id is None or isinstance(tracked.profile_id, str)
