"""The sandbox's push notifications, as a receiver meets them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from sandbox.control.control import Control
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from sandbox.world.courier import HEADER, sign
from tests.waiting import wait_until

SECRETS = ("new-secret", "old-secret")


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it and answers with `status`."""

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.begin()

    def begin(self) -> None:
        """Forget what came and answer 200."""
        self.got: list[tuple[str, bytes]] = []
        self.status = 200

    def types(self) -> list[str]:
        """Return the notifications' types in the order of arrival."""
        return [json.loads(raw)["notification"]["type"] for _, raw in list(self.got)]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.headers[HEADER], raw))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def listening() -> Iterator[Receiver]:
    """One receiver for the module."""
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module, with two secrets as while they are rotated."""
    options = SandboxOptions(client_secrets=SECRETS, generation_seconds=0.02, retry_seconds=0.05)
    with RunningSandbox(options) as sandbox:
        yield sandbox


@pytest.fixture
def receiver(listening: Receiver, control: Control) -> Receiver:
    """A receiver that has got nothing yet."""
    listening.begin()
    return listening


@pytest.fixture
def account(control: Control) -> dict[str, Any]:
    """A new account with a Zoom profile."""
    return control.create_account(conferencing_profiles=[{"profile_id": "pro_zoom"}])


@pytest.fixture
def calendar_id(account: dict[str, Any]) -> str:
    """Its calendar."""
    return str(account["calendar_profiles"][0]["calendars"][0]["calendar_id"])


def write(
    control: Control, account: dict[str, Any], calendar_id: str, hook: str | None, event_id: str = "e1"
) -> None:
    """Write an event for tomorrow on Zoom, with both interactions sent to `hook`."""
    start = datetime.now(UTC) + timedelta(days=1)
    types = [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}]
    body = {
        "event_id": event_id,
        "summary": "Interview",
        "start": start.isoformat(),
        "end": (start + timedelta(hours=1)).isoformat(),
        "conferencing": {"profile_id": "pro_zoom"},
        "subscriptions": [{"type": "webhook", "uri": hook, "interactions": types}] if hook else [],
    }
    control.create_event(account["sub"], calendar_id, body)


def open_channel(
    running: RunningSandbox, account: dict[str, Any], url: str, **filters: object
) -> dict[str, Any]:
    """Create a channel as the application."""
    response = httpx.post(
        f"{running.url}/v1/channels",
        json={"callback_url": url, "filters": filters},
        headers={"Authorization": f"Bearer {account['access_token']}"},
        trust_env=False,
    )
    channel: dict[str, Any] = response.json()["channel"]
    return channel


def test_callback_is_signed_with_every_secret(
    control: Control, receiver: Receiver, account: dict[str, Any], calendar_id: str
) -> None:
    """A callback carries one signature over the raw body for each active secret, comma-separated."""
    write(control, account, calendar_id, receiver.url)
    header, raw = wait_until(lambda: list(receiver.got), what="the callback")[0]
    assert header == f"{sign(raw, SECRETS[:1])},{sign(raw, SECRETS[1:])}"


@pytest.mark.parametrize("shape", ["array", "object"])
def test_callback_tells_of_the_event(
    control: Control, receiver: Receiver, account: dict[str, Any], calendar_id: str, shape: str
) -> None:
    """conferencing_assigned comes with the event's ids and its conference; interactions as set."""
    control.set_settings(interactions=shape)
    write(control, account, calendar_id, receiver.url)
    body = json.loads(wait_until(lambda: list(receiver.got), what="the callback")[0][1])
    interaction = {"type": "conferencing_assigned"}
    assert body["notification"]["interactions"] == ([interaction] if shape == "array" else interaction)
    assert (body["event"]["calendar_id"], body["event"]["event_id"]) == (calendar_id, "e1")
    assert body["event"]["conferencing"]["join_url"].startswith("https://zoom.example/")


def test_failure_carries_its_subtype(
    control: Control, receiver: Receiver, account: dict[str, Any], calendar_id: str
) -> None:
    """conferencing_failing says profile_missing once the profile is gone."""
    control.remove_profile(account["sub"], "pro_zoom")
    write(control, account, calendar_id, receiver.url)
    body = json.loads(wait_until(lambda: list(receiver.got), what="the callback")[0][1])
    assert body["notification"]["interactions"] == [
        {"type": "conferencing_failing", "subtype": "profile_missing"}
    ]


def test_channel_is_verified_and_told(
    running: RunningSandbox, control: Control, receiver: Receiver, account: dict[str, Any], calendar_id: str
) -> None:
    """A channel gets its verification, the disconnection once it is met, and what people change."""
    channel = open_channel(running, account, receiver.url)
    wait_until(lambda: receiver.types() == ["verification"], what="the verification")
    control.disconnect_profile(account["sub"], "pro_zoom")
    write(control, account, calendar_id, hook=None)
    wait_until(lambda: receiver.types()[1:] == ["conferencing_profile_disconnected"], what="disconnection")
    control.move_event(calendar_id, "e1", summary="Moved")
    wait_until(lambda: receiver.types()[2:] == ["change"], what="the change")
    change = json.loads(receiver.got[2][1])
    assert change["channel"] == channel
    assert change["notification"]["changes_since"].endswith("Z")


def test_channel_keeps_to_its_filters(
    running: RunningSandbox, control: Control, account: dict[str, Any], calendar_id: str
) -> None:
    """only_managed leaves out what people do to their own events."""
    open_channel(running, account, "urn:all")
    open_channel(running, account, "urn:managed", only_managed=True)
    start, end = "2027-01-05T09:00:00Z", "2027-01-05T10:00:00Z"
    control.create_external_event(account["sub"], calendar_id, summary="own", start=start, end=end)
    told = [n["url"] for n in control.notifications() if n["body"]["notification"]["type"] == "change"]
    assert told == ["urn:all"]


def test_refused_delivery_is_tried_again_a_few_times(
    running: RunningSandbox, control: Control, receiver: Receiver, account: dict[str, Any]
) -> None:
    """A receiver that answers 500 gets a notification `notify_attempts` times and then no more."""
    receiver.status = 500
    control.set_settings(notify_attempts=2)
    open_channel(running, account, receiver.url)
    wait_until(lambda: control.notifications()[0]["state"] == "failed", what="giving up")
    assert control.notifications()[0]["statuses"] == [500, 500]
    assert len(receiver.got) == 2


@pytest.mark.parametrize(
    ("settings", "url", "states"),
    [
        pytest.param({"notify_duplicates": 2}, None, ["delivered"] * 3, id="duplicates"),
        pytest.param({"notify_loss": 1.0}, None, ["lost"], id="loss"),
        pytest.param({}, "urn:nobody", ["refused"], id="not-http"),
        pytest.param({"notify_attempts": 1}, "http://127.0.0.1:1/", ["failed"], id="nobody-answers"),
    ],
)
def test_fate_of_a_notification(
    running: RunningSandbox,
    control: Control,
    receiver: Receiver,
    account: dict[str, Any],
    settings: dict[str, Any],
    url: str | None,
    states: list[str],
) -> None:
    """Notifications may come twice or never, as set, and go only to http addresses."""
    control.set_settings(**settings)
    open_channel(running, account, url or receiver.url)
    wait_until(lambda: [n["state"] for n in control.notifications()] == states, what=str(states))
    assert len(receiver.got) == states.count("delivered")


def test_reordered_notifications_overtake_each_other(
    running: RunningSandbox, control: Control, receiver: Receiver, account: dict[str, Any], calendar_id: str
) -> None:
    """With reordering on, the second notification arrives before the first."""
    control.set_settings(notify_reorder=True, notify_delay_seconds=0.3)
    open_channel(running, account, receiver.url)
    write(control, account, calendar_id, receiver.url)
    wait_until(lambda: len(receiver.got) == 2, what="both notifications")
    assert receiver.types() == ["event_subscription", "verification"]
