"""Push notifications, passed on by a caller or served, in a fleet that would not look for minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.acceptance.harness import Fleet, zoom
from tests.acceptance.served import Served
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def served(quiet_fleet: Fleet) -> Iterator[Served]:
    """`reconciler serve` at the fleet's public URL; SIGTERM ends it with 0."""
    running = Served(quiet_fleet.start, quiet_fleet.env["RECONCILER_WEBHOOK_URL"])
    yield running
    quiet_fleet.children.remove(running.child)
    assert running.child.end() == 0


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
