"""The sandbox's push notifications, as a receiver gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.control.control import Control
from sandbox.demo.receiver import receiver
from sandbox.world.courier import sign
from tests.integration.sandbox_caller import Caller
from tests.waiting import wait_until
from worker.diagnosis.model import Interaction
from worker.intake.push_notifications import read_notification

SECRETS = ("new-secret", "old-secret")


class Person(Caller):
    """An account with a Zoom profile, a receiver of its notifications at `hook`, and what it got."""

    hook: str
    #: Body and signature of each notification, in order of arrival.
    got: list[tuple[str, str]]

    def book(self, subscribed: bool = True) -> None:
        """Write an event on Zoom, with both interactions sent to the receiver."""
        interactions = [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}]
        hook = {"type": "webhook", "uri": self.hook, "interactions": interactions}
        self.write(conferencing={"profile_id": "pro_zoom"}, subscriptions=[hook] if subscribed else [])

    def open_channel(self, url: str = "", **filters: object) -> Any:
        """Create a channel as the application."""
        body = {"callback_url": url or self.hook, "filters": filters}
        return self.http.post("/v1/channels", json=body).json()["channel"]

    def received(self, number: int) -> list[dict[str, Any]]:
        """Wait for that many notifications and return them."""
        wait_until(lambda: len(self.got) == number, what=f"{number} notifications")
        return [json.loads(body) for body, _ in self.got]


@pytest.fixture
def person(control: Control) -> Iterator[Person]:
    """A new person, at a sandbox with two secrets as during a rotation."""
    control.set_settings(client_secrets=SECRETS, generation_seconds=0.02, retry_seconds=0.05)
    account = control.create_account(conferencing_profiles=[{"profile_id": "pro_zoom"}])
    person = Person(control.base_url, account)
    person.got = []
    with person.http, receiver(lambda *got: person.got.append(got)) as person.hook:
        yield person


ASSIGNED = {"type": "conferencing_assigned"}
KIND = {"type": "event_subscription"}
SHAPES: dict[str, dict[str, Any]] = {
    "array": {"notification": {**KIND, "interactions": [ASSIGNED]}},
    "object": {"notification": {**KIND, "interactions": ASSIGNED}},
    "singular": {"notification": {**KIND, "interaction": ASSIGNED}},
    "type": {"notification": ASSIGNED},
    "top": {"notification": KIND, "interactions": [ASSIGNED]},
    "subscription": {
        "notification": KIND,
        "subscription": {"type": "webhook", "interactions": [ASSIGNED]},
    },
}


@pytest.mark.parametrize(("shape", "said"), SHAPES.items(), ids=SHAPES)
def test_callback_says_what_became_of_the_event(
    control: Control, person: Person, shape: str, said: dict[str, Any]
) -> None:
    """A callback has the event's ids and conference, the configured form, and a signature per secret."""
    control.set_personality(interactions=shape)
    person.book()
    [body] = person.received(1)
    assert {name: body[name] for name in body if name != "event"} == said
    assert read_notification(person.got[0][0]).interaction is Interaction.ASSIGNED
    assert (body["event"]["calendar_id"], body["event"]["event_id"]) == (person.calendar_id, "e1")
    assert body["event"]["conferencing"]["join_url"].startswith("https://zoom.example/")
    raw, signature = person.got[0]
    assert signature == ",".join(sign(raw.encode(), [secret]) for secret in SECRETS)


def test_channel_is_verified_and_told(control: Control, person: Person) -> None:
    """A channel gets its verification, a disconnection once Cronofy notices, and people's changes."""
    channel = person.open_channel()
    person.received(1)
    control.disconnect_profile(person.account["sub"], "pro_zoom")
    person.book(subscribed=False)
    person.received(2)
    control.move_event(person.calendar_id, "e1", summary="Moved")
    bodies = person.received(3)
    told = ["verification", "conferencing_profile_disconnected", "change"]
    assert [body["notification"]["type"] for body in bodies] == told
    assert [body["channel"] for body in bodies] == [channel] * 3
    assert bodies[2]["notification"]["changes_since"].endswith("Z")


def test_channel_keeps_to_its_filters(control: Control, person: Person) -> None:
    """only_managed leaves out people's own events."""
    person.open_channel("urn:all")
    person.open_channel("urn:managed", only_managed=True)
    start, end = "2027-01-05T09:00:00Z", "2027-01-05T10:00:00Z"
    control.create_external_event(
        person.account["sub"], person.calendar_id, summary="own", start=start, end=end
    )
    notified = [n["url"] for n in control.notifications() if n["body"]["notification"]["type"] == "change"]
    assert notified == ["urn:all"]


@pytest.mark.parametrize(
    ("settings", "url", "fates"),
    [
        pytest.param({"notify_duplicates": 2}, "", [("delivered", [200])] * 3, id="duplicates"),
        pytest.param({"notify_loss": 1.0}, "", [("lost", [])], id="loss"),
        pytest.param({}, "urn:nobody", [("refused", [])], id="not-http"),
        pytest.param({"notify_attempts": 2}, "http://127.0.0.1:1/", [("failed", [0, 0])], id="no-answer"),
    ],
)
def test_fate_of_a_notification(
    control: Control, person: Person, settings: dict[str, Any], url: str, fates: list[Any]
) -> None:
    """Notifications may come twice or never, as configured, and are retried a few times."""
    control.set_settings(**settings)
    person.open_channel(url)
    wait_until(
        lambda: [(n["state"], n["statuses"]) for n in control.notifications()] == fates, what=str(fates)
    )
    assert len(person.got) == fates.count(("delivered", [200]))


def test_reordered_notifications_overtake_each_other(control: Control, person: Person) -> None:
    """With reordering on, the second notification arrives before the first."""
    control.set_settings(notify_reorder=True, notify_delay_seconds=0.3)
    person.open_channel()
    person.book()
    types = [body["notification"]["type"] for body in person.received(2)]
    assert types == ["event_subscription", "verification"]
