"""Looks that must not draw conclusions: faults, the budget, dry runs, intake."""

from __future__ import annotations

import pytest

from tests.integration.world import Begin, World
from tests.waiting import wait_until
from worker.cronofy.errors import OutOfBudget
from worker.cronofy.signature import signature_of
from worker.intake import accept
from worker.intake.payloads import OneEvent, ReceiveNotification, TrackEvent
from worker.run import looks


def make_due(world: World, *event_ids: str) -> None:
    """Make the events due now."""
    for event_id in event_ids or ("e1",):
        assert world.services.ledger.nudge(world.sub, world.key(event_id))


def test_an_event_that_is_not_tracked_has_no_diagnosis(begin: Begin) -> None:
    """None, and no call; untracking an event twice is harmless."""
    world = begin()
    world.track("no")
    one = OneEvent(sub=world.sub, calendar_id=world.calendar_id, event_id="no")
    assert [accept.untrack(world.services, one) for _ in range(2)] == [True, True]

    assert looks.reconcile_event(world.services, world.sub, world.key("no")) is None
    assert looks.reconcile_account(world.services, world.sub) == []
    assert looks.explain(world.services, world.sub, world.key("no")) is None

    assert (world.calls(), world.standing()) == ([], set())


def test_a_free_rider_that_is_assigned_is_settled_without_being_due(begin: Begin) -> None:
    """The read for one event showed another's link: that one is settled too, and not read again."""
    world = begin()
    world.track("due")
    world.track("rider")
    world.track("waits")
    world.control.set_settings(generation_seconds=0)
    world.control.create_event(world.sub, world.calendar_id, world.body("rider"))
    make_due(world, "due")
    before = world.stored("waits")

    assert looks.look_at_ready(world.services, 10).looked_at == 1

    assert [(o["type"], o["event_id"]) for o in world.outcomes()] == [("assigned", "rider")]
    assert [s.event.key.event_id for s in world.services.ledger.pending(world.sub)] == ["due", "waits"]
    assert world.stored("waits") == before


def test_ready_accounts_are_looked_at_soonest_first_and_each_once(begin: Begin) -> None:
    """A batch looks at several accounts, and one account's fault does not affect the others."""
    world = begin()
    others = [world, *(world.another() for _ in range(5))]
    for number, other in enumerate(others):
        other.track("e1", hours=10 + number)
        make_due(other, "e1")
    broken = others[2]
    world.control.add_fault("status", status=500, match={"sub": broken.sub})

    assert looks.look_at_ready(world.services, 100).looked_at == 6

    causes = {other.sub: other.stored().event.cause for other in others}
    assert [sub for sub, cause in causes.items() if cause is None] == [broken.sub]
    assert broken.stored().event.failures == 1
    assert all(other.standing() == {"waiting"} for other in others)


def test_a_confirming_read_that_fails_proves_nothing(begin: Begin) -> None:
    """Missing once and then an error: still pending."""
    world = begin()
    world.track("there")
    world.track("missing", write=False)
    empty = {"pages": {"current": 1, "total": 1}, "events": []}
    world.control.add_fault("wrong_shape", body=empty, match={"path_prefix": "/v1/events"}, times=1)
    world.control.add_fault("status", status=500, match={"path_prefix": "/v1/events"})

    answer = world.look("missing")

    assert (answer["state"], world.types()) == ("pending", [])


@pytest.mark.parametrize(
    ("spent", "calls"),
    [pytest.param(1, [], id="before the read"), pytest.param(0, ["GET /v1/events"], id="before UserInfo")],
)
def test_without_budget_the_account_stays_ready_and_unchanged(
    begin: Begin, spent: int, calls: list[str]
) -> None:
    """Nothing is concluded: the event keeps its place, and the next sweep's look resumes at once."""
    world = begin(api_per_minute=1, api_share=1)
    world.track()
    make_due(world)
    before = world.stored()
    world.services.looker.cronofy.budget(world.control.base_url).take(spent)

    assert looks.look_at_ready(world.services, 10).looked_at == 0

    assert (world.stored(), world.standing(), world.calls()) == (before, {"ready"}, calls)


def test_a_429_pauses_every_account(begin: Begin) -> None:
    """The whole fleet waits for Retry-After, and the accounts stay ready."""
    world = begin()
    other = world.another()
    for each in (world, other):
        each.track()
        make_due(each)
    world.control.add_fault("status", status=429, retry_after=30, times=1)

    looks.look_at_ready(world.services, 1)
    looks.look_at_ready(world.services, 10)

    assert (len(world.calls()), world.standing(), other.standing()) == (1, {"ready"}, {"ready"})
    with pytest.raises(OutOfBudget, match="pause"):
        world.services.looker.cronofy.budget(world.control.base_url).take()


def test_a_dry_run_writes_and_sends_nothing(begin: Begin) -> None:
    """It diagnoses and records; neither Cronofy nor anybody's mailbox gets anything."""
    world = begin(dry_run=True, escalation_email="ops@example.org", grace=0)
    world.track("removed")
    world.track("expired", profile=world.profiles[1])
    world.track("near", profile="integrated", hours=0.5)
    world.control.remove_profile(world.sub, world.profiles[0])
    world.control.disconnect_profile(world.sub, world.profiles[1])
    world.control.add_conferencing_profile(world.sub, provider_name="zoom")

    answers = {a["event_id"]: a["cause"] for a in looks.reconcile_account(world.services, world.sub)}

    found = {"removed": "profile_removed", "expired": "credentials_expired", "near": "unexplained"}
    assert answers == found
    assert (world.writes(), world.mails()) == ([], [])
    assert not {"reassigned", "relink_requested"} & set(world.types())


def test_an_impossible_start_harms_no_other_event(begin: Begin) -> None:
    """A caller's empty date (as C# writes it) does not hide the account's other events."""
    world = begin()
    world.track("fine", hours=-1)
    for event_id, start in (("first", "0001-01-01T00:00:00Z"), ("last", "9999-12-31T23:59:59Z")):
        body = {**world.body(event_id), "start": start, "end": start}
        accept.track(world.services, TrackEvent(sub=world.sub, calendar_id=world.calendar_id, event=body))
    make_due(world, "fine", "first", "last")

    looks.look_at_ready(world.services, 10)

    closed = {o["event_id"]: o["cause"] for o in world.outcomes()}
    assert closed == {"fine": "event_in_past", "first": "event_gone", "last": "event_gone"}


def test_a_created_in_the_year_0_hides_no_event(begin: Begin) -> None:
    """As in the C# client's tests: the link is found, and a pending event is waited for."""
    world = begin()
    world.track("linked")
    world.track("waiting")
    world.control.set_stuck(world.calendar_id, "waiting", True)
    never = "0000-12-29T00:00:00Z"
    world.control.set_settings(generation_seconds=0, event_fields={"created": never, "updated": never})
    world.control.create_event(world.sub, world.calendar_id, world.body("linked"))
    wait_until(
        lambda: "join_url" in world.control.event(world.calendar_id, "linked")["conferencing"],
        what="the link",
    )

    answers = {a["event_id"]: a["cause"] for a in looks.reconcile_account(world.services, world.sub)}

    assert answers == {"linked": None, "waiting": "generating"}
    assert world.types() == ["assigned"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/userinfo"])
def test_a_notification_outlives_a_look_that_failed(begin: Begin, path: str) -> None:
    """Cronofy notifies only once: an error in between does not lose the notice."""
    world = begin()
    world.track()
    world.notify("e1", "conferencing_failing")
    world.control.add_fault("status", status=500, match={"path_prefix": path}, times=1)

    world.look()

    assert (world.look()["cause"], world.types()) == ("provider_outage", ["delayed"])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("no JSON", id="no JSON"),
        pytest.param("[]", id="a list"),
        pytest.param('{"notification": 7}', id="a number"),
        pytest.param('{"notification": {"type": "tea_time"}}', id="an unknown type"),
        pytest.param('{"event": {"event_id": 7, "calendar_id": null}}', id="ids of the wrong type"),
        pytest.param(
            '{"notification": {"interactions": [{"type": "delighted"}]}, "event": {"event_id": "e1"}}',
            id="an unknown interaction",
        ),
    ],
)
@pytest.mark.parametrize("own", [False, True], ids=["account's", "event's own"])
def test_a_notification_that_is_not_understood_makes_the_event_due(
    begin: Begin, body: str, own: bool
) -> None:
    """The address it came to says enough: the facts are read from Cronofy in any case."""
    world = begin()
    world.track()
    key = {"calendar_id": world.calendar_id, "event_id": "e1"} if own else {}
    signature = signature_of(body.encode(), "sandbox-secret")
    notification = ReceiveNotification(body=body, signature=signature, sub=world.sub, **key)

    assert accept.receive_notification(world.services, notification)

    assert world.standing() == {"ready"}


def test_a_notification_with_a_bad_signature_is_counted_and_dropped(begin: Begin) -> None:
    """It makes nothing due, and nothing of it is kept."""
    world = begin()
    world.track()
    notification = ReceiveNotification(body='{"event": {"event_id": "e1"}}', signature="x", sub=world.sub)

    assert accept.receive_notification(world.services, notification) is None

    assert world.services.ledger.counters()["notifications:bad_signature"] == 1
    assert world.standing() == {"waiting"}
