"""What a push notification is about, whatever its body looks like."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import labelled
from worker.diagnosis.model import Interaction
from worker.intake.push_notifications import PushNotification as Push
from worker.intake.push_notifications import read_notification

EVENT = {"event_id": "booking-77", "calendar_id": "cal_1", "conferencing": {"pending": True}}
IDS = ("cal_1", "booking-77")


def a_body(interactions: Any, event: Any = EVENT) -> dict[str, Any]:
    """A callback's body."""
    return {"notification": {"type": "event_subscription", "interactions": interactions}, "event": event}


FAILING = {"type": "conferencing_failing"}
ASSIGNED = {"type": "conferencing_assigned"}
MISSING = {**FAILING, "subtype": "profile_missing"}
SUBSCRIPTION = {"type": "webhook", "uri": "https://app.example/hook", "interactions": [FAILING]}


def of_event(notification: dict[str, Any]) -> dict[str, Any]:
    """A callback's body with this notification."""
    return {"notification": notification, "event": EVENT}


def failing(subtype: Any) -> dict[str, Any]:
    """A callback's body with this subtype."""
    return a_body([{**FAILING, "subtype": subtype}])


SHAPES: list[tuple[str, Any, Push]] = [
    ("failing", a_body([FAILING]), Push(*IDS, Interaction.FAILING)),
    (
        "failing with a subtype",
        failing("profile_missing"),
        Push(*IDS, Interaction.FAILING, "profile_missing"),
    ),
    ("an unknown subtype", failing("new_word"), Push(*IDS, Interaction.FAILING, "new_word")),
    ("a subtype without end", failing("x" * 999), Push(*IDS, Interaction.FAILING, "x" * 64)),
    ("a subtype that is null", failing(None), Push(*IDS, Interaction.FAILING)),
    ("a subtype that is a number", failing(1), Push(*IDS, Interaction.FAILING)),
    ("assigned", a_body([ASSIGNED]), Push(*IDS, Interaction.ASSIGNED)),
    ("the old word", a_body([{"type": "conferencing_success"}]), Push(*IDS, Interaction.ASSIGNED)),
    ("an object for the array", a_body(FAILING), Push(*IDS, Interaction.FAILING)),
    ("an unknown one before", a_body([{"type": "x"}, 7, FAILING]), Push(*IDS, Interaction.FAILING)),
    ("both", a_body([ASSIGNED, FAILING]), Push(*IDS, Interaction.ASSIGNED)),
    ("both, the other way round", a_body([FAILING, ASSIGNED]), Push(*IDS, Interaction.ASSIGNED)),
    ("a single one", of_event({"interaction": MISSING}), Push(*IDS, Interaction.FAILING, "profile_missing")),
    (
        "a single one in a word",
        of_event({"interaction": "conferencing_failing", "subtype": "profile_missing"}),
        Push(*IDS, Interaction.FAILING, "profile_missing"),
    ),
    ("as the type", of_event(MISSING), Push(*IDS, Interaction.FAILING, "profile_missing")),
    ("beside the event", {"event": EVENT, "interactions": [FAILING]}, Push(*IDS, Interaction.FAILING)),
    (
        "a single one beside the event",
        {"event": EVENT, "interaction": ASSIGNED},
        Push(*IDS, Interaction.ASSIGNED),
    ),
    ("as the type beside the event", {"event": EVENT, **ASSIGNED}, Push(*IDS, Interaction.ASSIGNED)),
    ("in a subscription", {"event": EVENT, "subscription": SUBSCRIPTION}, Push(*IDS, Interaction.FAILING)),
    (
        "in a notification's subscription",
        of_event({"type": "event_subscription", "subscription": SUBSCRIPTION}),
        Push(*IDS, Interaction.FAILING),
    ),
    (
        "the event in a subscription",
        {"subscription": {**SUBSCRIPTION, "event": EVENT}},
        Push(*IDS, Interaction.FAILING),
    ),
    (
        "beside what was subscribed to",
        {**a_body([FAILING]), "subscription": {"interactions": [ASSIGNED, FAILING]}},
        Push(*IDS, Interaction.FAILING),
    ),
    ("in two places", {**a_body([FAILING]), "interaction": ASSIGNED}, Push(*IDS, Interaction.ASSIGNED)),
    ("an unknown interaction", a_body([{"type": "conferencing_delighted"}]), Push(*IDS)),
    ("no interactions", a_body([]), Push(*IDS)),
    ("interactions in words", a_body("conferencing_failing"), Push(*IDS, Interaction.FAILING)),
    ("a type that is a list", a_body([{"type": ["conferencing_failing"]}]), Push(*IDS)),
    ("no event", a_body([FAILING], None), Push(None, None, Interaction.FAILING)),
    ("an event that is a list", a_body([FAILING], [EVENT]), Push(None, None, Interaction.FAILING)),
    ("ids that are numbers", a_body([FAILING], {"event_id": 7}), Push(None, None, Interaction.FAILING)),
    (
        "ids that no payload could contain",
        a_body([], {"event_id": "\ud83d", "calendar_id": "\ud83d"}),
        Push(),
    ),
    ("empty ids", a_body([], {"event_id": "", "calendar_id": ""}), Push()),
    (
        "the event inside",
        {"notification": {"interactions": [FAILING], "event": EVENT}},
        Push(*IDS, Interaction.FAILING),
    ),
    ("a change", {"notification": {"type": "change", "changes_since": "x"}, "channel": {}}, Push()),
    ("a verification", {"notification": {"type": "verification"}, "channel": {}}, Push()),
    ("a disconnection", {"notification": {"type": "conferencing_profile_disconnected"}}, Push()),
    ("an unknown type", {"notification": {"type": "tea_time", "interactions": 1}}, Push()),
    ("a notification in words", {"notification": "change"}, Push()),
    ("an empty object", {}, Push()),
    ("a list", [], Push()),
    ("a text", "x", Push()),
    ("null", None, Push()),
]


@pytest.mark.parametrize(("body", "notice"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES])
def test_a_body_is_parsed(body: Any, notice: Push) -> None:
    """Ids from the event, and the interaction wherever it is; assigned beats an earlier failure."""
    assert replace(read_notification(json.dumps(body)), kind=None) == notice


@pytest.mark.parametrize(
    ("body", "kind", "channel_id", "is_news"),
    labelled(
        (
            "over a channel",
            {"notification": {"type": "change"}, "channel": {"channel_id": "chn_1"}},
            "change",
            "chn_1",
            True,
        ),
        ("of an event", a_body([FAILING]), "event_subscription", None, True),
        ("opened", {"notification": {"type": "verification"}, "channel": {}}, "verification", None, False),
        ("gdpr", {"notification": {"type": "gdpr_requested"}, "channel": 7}, "gdpr_requested", None, False),
        ("a word without end", {"notification": {"type": "x" * 999}}, "x" * 64, None, True),
        ("no word", {"notification": {"type": ["change"]}}, None, None, True),
    ),
)
def test_its_channel_and_type_are_known(
    body: dict[str, Any], kind: str | None, channel_id: str | None, is_news: bool
) -> None:
    """Everything but verification and erasure may mean that an event changed, including unknown words."""
    notice = read_notification(json.dumps(body))

    assert (notice.kind, notice.channel_id, notice.is_news) == (kind, channel_id, is_news)


@pytest.mark.parametrize(
    "body",
    ["", "no JSON", "{", "[" * 100_000, "9" * 5000, "\ud800", '{"a": NaN', "\0"],
    ids=["empty", "words", "half", "deep", "a long number", "surrogate", "half with NaN", "nul"],
)
def test_invalid_json_is_an_empty_notice(body: str) -> None:
    """A notification never fails because of its body."""
    assert read_notification(body) == Push()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "notification",
                    "event",
                    "subscription",
                    "interactions",
                    "interaction",
                    "type",
                    "subtype",
                    "event_id",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON.map(json.dumps) | st.text(max_size=50))
def test_any_body_gives_a_notice(body: str) -> None:
    """Whatever arrives, the ids are texts that are not empty, or None."""
    notice = read_notification(body)

    for name in (notice.calendar_id, notice.event_id, notice.subtype):
        assert name is None or (isinstance(name, str) and name)
    assert notice.subtype is None or notice.interaction is not None
