"""With a public URL Cronofy tells `serve` what happens, in a fleet that would not look for minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from sandbox.control.admin import Json
from tests.acceptance.harness import Fleet, Person, running_fleet, zoom
from tests.ports import free_port
from tests.waiting import wait_until

pytest.importorskip("starlette", reason="the extra web is not installed")


@pytest.fixture(scope="module")
def notified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """`up` and `serve`, with the address of the latter."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "WEBHOOK_URL": url,
        "RECHECK_MIN": "300",
        "RECHECK_MAX": "3600",
        "GRACE": "300",
        "ESCALATE_AFTER": "3600",
        "ESCALATE_BEFORE": "300",
    }
    with running_fleet(tmp_path_factory.mktemp("notified"), settings=settings) as fleet:
        fleet.start("serve", "--port", str(port))
        wait_until(lambda: _answers(f"{url}/healthz"), 20, 0.1, what="serve")
        yield fleet


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _notified(fleet: Fleet, kind: str) -> list[Json]:
    """What Cronofy delivered of this kind."""
    sent = [each for each in fleet.control.notifications() if each["state"] == "delivered"]
    said = [(each, each["body"]["notification"]) for each in sent]
    return [
        each
        for each, notification in said
        if kind in (notification["type"], *(i["type"] for i in notification.get("interactions", ())))
    ]


def _with_channel(person: Person) -> Json:
    """The account's channel, once it is open."""
    [channel] = wait_until(lambda: person.fleet.control.channels(person.sub), 20, 0.1, what="a channel")
    return channel


def test_connecting_opens_a_channel_that_is_verified(notified: Fleet) -> None:
    """One, although the account is connected twice, and `serve` answers its verification."""
    person = notified.person(zoom("pro_zoom"))
    channel = _with_channel(person)
    person.connect()

    def checked() -> bool:
        return len(notified.requests(person.sub, path="/v1/channels")) >= 2

    wait_until(checked, 20, 0.1, what="the second look at the channel")
    assert notified.control.channels(person.sub) == [channel]

    def verified() -> list[str]:
        addresses = [each["url"] for each in _notified(notified, "verification")]
        return [address for address in addresses if address == channel["callback_url"]]

    assert len(wait_until(verified, 10, 0.1, what="the verification")) == 1


def test_a_profile_that_is_lost_brings_the_relink_email_at_once(notified: Fleet) -> None:
    """The channel says that a profile was disconnected; the event's next look was minutes away."""
    person = notified.person(zoom("pro_zoom"))
    _with_channel(person)
    person.stick("booked")
    person.track(person.write("booked", "pro_zoom", timedelta(days=2), subscriptions=[]))

    notified.control.disconnect_profile(person.sub, "pro_zoom")
    person.stick("booked", False)

    person.outcome("relink_requested", None)
    wait_until(person.mails, 15, 0.1, what="the relink email")
    assert _notified(notified, "conferencing_profile_disconnected")


def test_an_update_of_ours_hears_of_its_conference(notified: Fleet) -> None:
    """The caller subscribed to nothing: our own subscription brings the outcome soon after the update."""
    person = notified.person(zoom("pro_old"), zoom("pro_new"))
    person.stick("booked")
    body = person.write("booked", "pro_old", timedelta(days=2), subscriptions=[])
    person.track(body, provider_name="zoom")
    notified.control.remove_profile(person.sub, "pro_old")

    ids = {"sub": person.sub, "calendar_id": person.calendar_id, "event_id": "booked"}
    notified.caller.call("reconcile_event", **ids)
    person.outcome("reassigned", "booked")
    person.stick("booked", False)

    assert person.outcome("assigned", "booked")["detail"]["join_url"]
    assert [each["body"]["event"]["event_id"] for each in _notified(notified, "conferencing_assigned")] == [
        "booked"
    ]
