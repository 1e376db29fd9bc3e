"""Push notifications, passed on by a caller or served, in a fleet that would not look for minutes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from sandbox.world.courier import sign
from tests.acceptance.harness import CLIENT_SECRET, Fleet, zoom
from tests.acceptance.served import Served
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def served(quiet_fleet: Fleet) -> Iterator[Served]:
    """`reconciler serve` at the fleet's public URL; SIGTERM ends it with 0."""
    running = Served(quiet_fleet.start, quiet_fleet.env["RECONCILER_WEBHOOK_URL"])
    yield running
    quiet_fleet.children.remove(running.child)
    assert running.child.end() == 0


def test_a_notification_brings_a_look_at_once(quiet_fleet: Fleet) -> None:
    """The outcome comes within three seconds; a bad signature is answered `false`, and nothing is read."""
    person = quiet_fleet.person(zoom("pro_zoom"))
    person.track(person.write("notified", "pro_zoom", timedelta(days=2), subscriptions=[]))
    wait_until(
        lambda: "join_url" in quiet_fleet.control.event(person.calendar_id, "notified")["conferencing"]
    )
    body = json.dumps(
        {
            "notification": {"interactions": [{"type": "conferencing_assigned"}]},
            "event": {"calendar_id": person.calendar_id, "event_id": "notified"},
        }
    )

    def hand_on(secret: str) -> object:
        signature = sign(body.encode(), [secret])
        return quiet_fleet.caller.call("receive_notification", body=body, signature=signature)

    assert hand_on("guessed") is False
    wait_until(quiet_fleet.drained, 10, what="the queues to drain")
    assert quiet_fleet.requests(person.sub, path="/v1/events") == []
    assert hand_on(CLIENT_SECRET) is True
    person.outcome("assigned", "notified", 3)


def test_a_channel_brings_the_relink_email_at_once(quiet_fleet: Fleet, served: Served) -> None:
    """Connecting opened and verified the channel, over which Cronofy reports a disconnected profile."""
    person = quiet_fleet.person(zoom("pro_zoom"))
    [channel] = wait_until(lambda: quiet_fleet.control.channels(person.sub), 20, 0.1, what="a channel")
    person.stick("booked")
    person.track(person.write("booked", "pro_zoom", timedelta(days=2), subscriptions=[]))

    quiet_fleet.control.disconnect_profile(person.sub, "pro_zoom")
    person.stick("booked", False)

    person.outcome("relink_requested", None)
    wait_until(person.mails, 15, 0.1, what="the relink email")
    delivered = [
        sent["body"]["notification"]["type"]
        for sent in quiet_fleet.control.notifications()
        if (sent["url"], sent["state"]) == (channel["callback_url"], "delivered")
    ]
    assert {"verification", "conferencing_profile_disconnected"} <= set(delivered)


def test_a_taken_address_is_reported_in_one_sentence(quiet_fleet: Fleet, served: Served) -> None:
    """One sentence, and exit code 1."""
    done = quiet_fleet.run("serve", "--port", str(served.port))

    assert done.returncode == 1
    assert f"port {served.port}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
