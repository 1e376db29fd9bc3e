"""Looks that must not draw conclusions: faults, the budget, dry runs, intake."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.integration.world import NOW, Begin, World
from worker.cronofy.errors import OutOfBudget
from worker.intake import accept
from worker.intake.payloads import OneEvent, ReceiveNotification, TrackEvent
from worker.ledger.records import EventKey
from worker.run import looks


def make_due(world: World, *event_ids: str) -> None:
    """Make the events due now."""
    for event_id in event_ids or ("e1",):
        assert world.services.ledger.nudge(world.sub, world.key(event_id))


def test_an_event_that_is_not_tracked_has_no_diagnosis(begin: Begin) -> None:
    """None, and no call."""
    world = begin()

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
    others = [world] + [World(world.services, world.control, _account(world, n)) for n in range(5)]
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


def _account(world: World, number: int) -> dict[str, Any]:
    profiles = [{"provider_name": "zoom", "profile_id": f"pro_other_{number}"}]
    return world.control.create_account(conferencing_profiles=profiles)


USERINFO = [
    pytest.param({"kind": "empty_userinfo"}, id="empty"),
    pytest.param({"kind": "wrong_shape", "body": {"sub": "acc_other", "cronofy.data": {}}}, id="other's"),
    pytest.param({"kind": "wrong_shape", "body": []}, id="a list"),
    pytest.param({"kind": "truncated"}, id="truncated"),
    pytest.param({"kind": "html", "status": 200}, id="HTML"),
    pytest.param({"kind": "status", "status": 500}, id="500"),
    pytest.param({"kind": "status", "status": 404}, id="404"),
    pytest.param({"kind": "reset"}, id="reset"),
]


@pytest.mark.parametrize("fault", USERINFO)
def test_from_a_broken_userinfo_nothing_is_concluded(begin: Begin, fault: dict[str, Any]) -> None:
    """No removed profile, no write, no outcome: the event is looked at again."""
    world = begin()
    world.track()
    world.control.remove_profile(world.sub, world.profiles[0])
    world.control.add_fault(**fault, match={"path_prefix": "/v1/userinfo"})

    answer = world.look()

    assert (answer["state"], answer["cause"]) == ("pending", "generating")
    assert answer["evidence"][-1].startswith("Not re-read: ")
    assert (world.types(), world.writes(), world.standing()) == ([], [], {"waiting"})
    assert world.stored().event.failures == 1


READS = [
    pytest.param({"kind": "status", "status": 500}, id="500"),
    pytest.param({"kind": "status", "status": 404}, id="404"),
    pytest.param({"kind": "status", "status": 402}, id="402"),
    pytest.param({"kind": "wrong_shape", "body": {"events": "none"}}, id="wrong shape"),
    pytest.param({"kind": "page_loop"}, id="page loop"),
    pytest.param({"kind": "foreign_next_page"}, id="foreign page"),
    pytest.param({"kind": "truncated"}, id="truncated"),
]


@pytest.mark.parametrize("fault", READS)
def test_from_a_broken_read_nothing_is_concluded(begin: Begin, fault: dict[str, Any]) -> None:
    """An event that a broken answer does not show is neither gone nor past."""
    world = begin()
    world.track(hours=-1)
    world.control.delete_event(world.calendar_id, "e1")
    world.control.add_fault(**fault, match={"path_prefix": "/v1/events"})

    answer = world.look()

    assert (answer["state"], world.types(), world.standing()) == ("pending", [], {"waiting"})
    assert world.stored().event.failures == 1


def test_an_event_missing_from_the_first_read_only_is_not_gone(begin: Begin) -> None:
    """It slipped between two pages: the confirming read has it."""
    world = begin()
    world.track()
    nothing = {"pages": {"current": 1, "total": 1}, "events": []}
    world.control.add_fault("wrong_shape", body=nothing, match={"path_prefix": "/v1/events"}, times=1)

    answer = world.look()

    assert (answer["state"], answer["cause"]) == ("pending", "generating")
    assert world.calls() == ["GET /v1/events", "GET /v1/events", "GET /v1/userinfo"]


def test_an_event_moved_out_of_the_window_is_not_gone(begin: Begin) -> None:
    """A person moved it by two months: the second read, of all time, finds it."""
    world = begin()
    world.track()
    start, end = NOW + timedelta(days=60), NOW + timedelta(days=60, hours=1)
    world.control.move_event(world.calendar_id, "e1", start=start.isoformat(), end=end.isoformat())

    assert world.look()["cause"] == "generating"

    moved = world.stored().event.start
    assert moved is not None
    assert moved.instant == start


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


def test_without_budget_the_account_stays_ready_and_unchanged(begin: Begin) -> None:
    """Nothing was asked, so nothing changes: the next sweep's look resumes at once."""
    world = begin(api_per_second=2, api_share=1)
    world.track()
    make_due(world)
    before = world.stored()
    world.services.looker.cronofy.budget(world.control.base_url).take(2)

    assert looks.look_at_ready(world.services, 10).looked_at == 0

    assert (world.stored(), world.standing(), world.calls()) == (before, {"ready"}, [])


def test_without_budget_between_two_calls_the_event_stays_due(begin: Begin) -> None:
    """The read was granted, UserInfo was not: the event keeps its place."""
    world = begin(api_per_minute=1, api_share=1)
    world.track()
    make_due(world)
    before = world.stored()

    looks.look_at_ready(world.services, 10)

    assert (world.stored(), world.standing(), world.calls()) == (before, {"ready"}, ["GET /v1/events"])


def test_a_429_pauses_every_account(begin: Begin) -> None:
    """The whole fleet waits for Retry-After, and the accounts stay ready."""
    world = begin()
    other = World(world.services, world.control, _account(world, 1))
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

    assert answers == {
        "removed": "profile_removed",
        "expired": "credentials_expired",
        "near": "unexplained",
    }
    assert (world.writes(), world.mails()) == ([], [])
    assert not {"reassigned", "relink_requested"} & set(world.types())


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("0001-01-01T00:00:00Z", id="the least date"),
        pytest.param("9999-12-31T23:59:59Z", id="the last date"),
    ],
)
def test_an_impossible_start_harms_no_other_event(begin: Begin, start: str) -> None:
    """A caller's empty date (as C# writes it) does not hide the account's other events."""
    world = begin()
    world.track("fine", hours=-1)
    body = {**world.body("odd"), "start": start, "end": start}
    payload = {"sub": world.sub, "calendar_id": world.calendar_id, "event": body}
    accept.track(world.services, TrackEvent.model_validate(payload))
    make_due(world, "fine", "odd")

    looks.look_at_ready(world.services, 10)

    assert {(o["event_id"], o["cause"]) for o in world.outcomes()} == {
        ("fine", "event_in_past"),
        ("odd", "event_gone"),
    }


@pytest.mark.parametrize("path", ["/v1/events", "/v1/userinfo"])
def test_a_notification_outlives_a_look_that_failed(begin: Begin, path: str) -> None:
    """Cronofy notifies only once: an error in between does not lose the notice."""
    world = begin()
    world.track()
    world.notify("e1", "conferencing_failing")
    world.control.add_fault("status", status=500, match={"path_prefix": path}, times=1)

    world.look()

    assert world.look()["cause"] == "provider_outage"


def test_a_notification_with_a_bad_signature_is_counted_and_dropped(begin: Begin) -> None:
    """It makes nothing due, and nothing of it is kept."""
    world = begin()
    world.track()
    notification = ReceiveNotification(body='{"event": {"event_id": "e1"}}', signature="x", sub=world.sub)

    assert accept.receive_notification(world.services, notification) is None

    assert world.services.ledger.counters()["notifications:bad_signature"] == 1
    assert world.standing() == {"waiting"}


def test_an_untracked_event_gets_no_looks(begin: Begin) -> None:
    """Untracking twice is harmless."""
    world = begin()
    world.track()
    one = OneEvent(sub=world.sub, calendar_id=world.calendar_id, event_id="e1")

    assert [accept.untrack(world.services, one) for _ in range(2)] == [True, True]

    assert (world.standing(), world.services.ledger.find(world.sub, EventKey(world.calendar_id, "e1"))) == (
        set(),
        None,
    )
