"""Notifications save polling: events that Cronofy is known to notify us about are looked at less often."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.builders import CONNECTED, MINUTE, NOW, concluded, event_body, lapsed, tracked, userinfo
from worker.diagnosis.model import Profiles
from worker.ledger.records import Write, to_ms


def subscriptions(*interactions: str) -> list[dict[str, Any]]:
    """One webhook per interaction."""
    return [
        {"type": "webhook", "uri": "https://app.example/hook", "interactions": [{"type": word}]}
        for word in interactions
    ]


BOTH = subscriptions("conferencing_assigned", "conferencing_failing")


@pytest.mark.parametrize(
    ("arrive", "subscribed", "profiles", "pause"),
    [
        pytest.param(True, BOTH, CONNECTED, 30 * MINUTE, id="live"),
        pytest.param(False, BOTH, CONNECTED, 2 * MINUTE, id="nothing ever came"),
        pytest.param(True, BOTH[:1], CONNECTED, 2 * MINUTE, id="failures are not notified"),
        pytest.param(True, None, CONNECTED, 2 * MINUTE, id="not subscribed"),
        pytest.param(True, "yes", CONNECTED, 2 * MINUTE, id="no list"),
        pytest.param(True, [None, {"interactions": "all"}], CONNECTED, 2 * MINUTE, id="no subscriptions"),
        pytest.param(True, BOTH, userinfo(lapsed("pro_a")), 2 * MINUTE, id="a user's return is not notified"),
    ],
)
def test_a_live_subscription_saves_looks(
    arrive: bool, subscribed: Any, profiles: Profiles, pause: timedelta
) -> None:
    """If notifications are known to arrive, and would report the change, three of four looks are skipped."""
    body = event_body() | {"subscriptions": subscribed}

    verdict = concluded(tracked(body=body, interval=60.0), None, profiles, notices_arrive=arrive)

    assert verdict.after.next_look == to_ms(NOW + pause)


@pytest.mark.parametrize(
    ("write", "counts"),
    [
        pytest.param(Write(0, accepted=True, subscribed=True), True, id="accepted"),
        pytest.param(Write(0, subscribed=True), False, id="not answered"),
        pytest.param(Write(0, refused="422", subscribed=True), False, id="refused"),
        pytest.param(Write(0, accepted=True), False, id="without a subscription"),
    ],
)
def test_a_subscription_of_ours_counts_once_accepted(write: Write, counts: bool) -> None:
    """An Update Event of ours that carried it counts like the caller's own."""
    event = replace(tracked(body=event_body()), writes={"pro_b": write})

    assert event.subscribed is counts
