"""Push notifications, in a fleet that would not look by itself for minutes."""

from __future__ import annotations

import json
import time
from datetime import timedelta

from sandbox.world.courier import sign
from tests.acceptance.harness import CLIENT_SECRET, Fleet, Person, zoom
from tests.waiting import wait_until
from worker.ledger.wakeups import WAKE_WINDOW


def _notification(person: Person, event_id: str) -> str:
    content = {
        "notification": {"type": "event_subscription", "interactions": [{"type": "conferencing_assigned"}]},
        "event": {"calendar_id": person.calendar_id, "event_id": event_id},
    }
    return json.dumps(content)


def _tracked(fleet: Fleet, event_id: str) -> Person:
    """Somebody with one tracked event that has its conference at Cronofy, without a notification of it."""
    person = fleet.person(zoom("pro_zoom"))
    body = person.write(event_id, "pro_zoom", timedelta(days=2), subscriptions=[])
    person.track(body)
    wait_until(lambda: "join_url" in fleet.control.event(person.calendar_id, event_id)["conferencing"])
    return person


def _waiting(fleet: Fleet, event_id: str) -> Person:
    """Somebody with one tracked event whose conference does not come."""
    person = fleet.person(zoom("pro_zoom"))
    person.stick(event_id)
    person.write_and_track(event_id, "pro_zoom")
    return person


def _send(person: Person, event_id: str, times: int) -> None:
    """Hand over the same notification so many times, without waiting for an answer."""
    body = _notification(person, event_id)
    signature = sign(body.encode(), [CLIENT_SECRET])
    for _ in range(times):
        person.fleet.caller.send("receive_notification", body=body, signature=signature)


def _counted(fleet: Fleet, name: str) -> int:
    return int(fleet.redis.hget("reconciler:counters", name) or 0)


def test_a_notification_brings_a_look_at_once(quiet_fleet: Fleet) -> None:
    """The outcome is told within three seconds, although the next look is minutes away."""
    person = _tracked(quiet_fleet, "notified")
    body = _notification(person, "notified")
    assert person.told() == [("account_connected", None)]

    signature = sign(body.encode(), [CLIENT_SECRET])
    assert quiet_fleet.caller.call("receive_notification", body=body, signature=signature) is True

    person.outcome("assigned", "notified", 3)


def test_a_notification_with_a_bad_signature_is_only_counted(quiet_fleet: Fleet) -> None:
    """It is not taken: nothing is read, nothing is told, no letter is kept; the counter goes up by one."""
    person = _tracked(quiet_fleet, "forged")
    body = _notification(person, "forged")
    counted = _counted(quiet_fleet, "notifications:bad_signature")
    taken = _counted(quiet_fleet, "notifications:taken")

    signature = sign(body.encode(), ["guessed"])
    assert quiet_fleet.caller.call("receive_notification", body=body, signature=signature) is False

    time.sleep(1)
    assert quiet_fleet.drained()
    assert _counted(quiet_fleet, "notifications:bad_signature") == counted + 1
    assert _counted(quiet_fleet, "notifications:taken") == taken
    assert quiet_fleet.requests(person.sub) == []
    assert person.told() == [("account_connected", None)]
    assert quiet_fleet.redis.xlen("reconciler:dead-letters") == 0


def test_many_notifications_at_once_cost_few_reads(quiet_fleet: Fleet) -> None:
    """A hundred notifications of an event that still waits bring two reads of its account.

    Where the machine needs longer than a moment to take them, each further moment brings one more.
    """
    person = _waiting(quiet_fleet, "busy")

    began = time.monotonic()
    _send(person, "busy", 100)

    wait_until(lambda: quiet_fleet.requests(person.sub, path="/v1/events"), 10, what="a read")
    wait_until(quiet_fleet.drained, 20, what="all to be taken")
    further = int((time.monotonic() - began) / WAKE_WINDOW.total_seconds())
    assert len(quiet_fleet.requests(person.sub, path="/v1/events")) <= 2 + further


def test_what_the_last_of_many_notifications_says_is_seen_soon(quiet_fleet: Fleet) -> None:
    """The conference came during the burst: its outcome is there within three seconds, without a sweep."""
    person = _waiting(quiet_fleet, "late")
    _send(person, "late", 50)
    wait_until(lambda: quiet_fleet.requests(person.sub, path="/v1/events"), 10, what="the first read")

    person.stick("late", False)
    wait_until(
        lambda: "join_url" in quiet_fleet.control.event(person.calendar_id, "late")["conferencing"],
        what="the conference",
    )
    _send(person, "late", 50)

    assert person.outcome("assigned", "late", 3)["detail"]["join_url"]
