"""A look asks the cheapest question first, and makes no more calls than necessary."""

from __future__ import annotations

import pytest

from tests.integration.test_look_reading import make_due
from tests.integration.world import Begin, World
from worker.cronofy.client import Cronofy
from worker.ledger.ledger import Connecting, Credentials
from worker.run import looks

USERINFO, READ = "GET /v1/userinfo", "GET /v1/events"


def look(world: World, *event_ids: str) -> list[str]:
    """A look as a sweep wakes it, at due events; returns its calls."""
    before = len(world.calls())
    make_due(world, *event_ids)
    looks.look_at_ready(world.services, 10)
    return world.calls()[before:]


def disconnected(begin: Begin) -> World:
    """A world with an event whose user was asked to connect the profile again."""
    world = begin(profiles=1)
    world.track()
    world.control.disconnect_profile(world.sub, "pro_0")
    assert look(world) == [READ, USERINFO]
    assert world.types() == ["relink_requested"]
    return world


def test_while_a_user_is_waited_for_userinfo_alone_is_asked(begin: Begin) -> None:
    """The event cannot change while its profile is disconnected; its looks go on as planned."""
    world = disconnected(begin)
    before = world.stored().event

    assert [look(world) for _ in range(3)] == [[USERINFO]] * 3

    after = world.stored().event
    assert (after.cause, after.seen, after.read_at) == (before.cause, before.seen, before.read_at)
    assert after.interval == (before.interval or 0) * 8
    assert world.types() == ["relink_requested"]


@pytest.mark.parametrize(
    ("back", "cause"),
    [pytest.param(True, "generating", id="connected"), pytest.param(False, "profile_removed", id="removed")],
)
def test_once_its_profile_changed_the_event_is_read_in_the_same_look(
    begin: Begin, back: bool, cause: str
) -> None:
    """UserInfo is not asked twice, and nothing is written that was not just read."""
    world = disconnected(begin)
    (world.control.reconnect_profile if back else world.control.remove_profile)(world.sub, "pro_0")

    assert look(world) == [USERINFO, READ]

    assert world.stored().event.cause == cause
    assert ("relinked" in world.types()) is back


def test_a_question_gets_a_read(begin: Begin) -> None:
    """A caller wants the current state; a notification counts the same."""
    world = disconnected(begin)
    for ask in (
        world.look,
        lambda: looks.explain(world.services, world.sub, world.key()),
        lambda: (world.notify("e1", "conferencing_failing"), looks.look_at_ready(world.services, 1)),
    ):
        before = len(world.calls())
        ask()
        assert world.calls()[before:] == [READ, USERINFO]


def test_events_far_apart_are_read_in_pieces_where_the_calendar_is_full(begin: Begin) -> None:
    """Three hundred meetings lie between two due ones: two short reads instead of four pages."""
    world = begin(recheck_min=1)
    world.control.set_settings(page_size=25)
    for number in range(95):
        body = world.body(f"between{number}", hours=24 * (2 + number))
        world.control.create_event(world.sub, world.calendar_id, body)
    world.track("first", hours=24)
    world.track("last", hours=24 * 99)

    first, second = look(world, "first", "last"), look(world, "first", "last")

    assert [sum(call.startswith(READ) for call in calls) for calls in (first, second)] == [4, 2]
    assert all(world.stored(e).event.cause == "generating" for e in ("first", "last"))


def test_polling_slows_down_only_once_notifications_are_known_to_come(begin: Begin) -> None:
    """A subscription counts as live once a notification about the account has reached us."""
    world = begin(recheck_min=30)
    interactions = [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}]
    hook = {"type": "webhook", "uri": f"{world.control.base_url}/nowhere", "interactions": interactions}
    world.track("quiet")
    world.track("notified", subscriptions=[hook])
    look(world, "quiet", "notified")
    unnotified = world.stored("notified").event

    world.notify("quiet", "conferencing_failing")
    look(world, "quiet", "notified")
    notified = world.stored("notified").event

    assert (unnotified.interval, notified.interval) == (30, 30 * 16)
    assert notified.next_look is not None
    assert notified.read_at is not None
    assert notified.next_look - notified.read_at == pytest.approx(30_000 * (2 + 4 + 8 + 16), abs=1000)


def test_a_sweep_wakes_no_more_looks_than_the_budget_allows(begin: Begin) -> None:
    """Without room, or in a pause, none; a batch that the budget broke off says when there is room."""
    world = begin(api_per_minute=1, api_share=1, sweep_every=0.001)
    world.track()
    make_due(world)
    assert looks.sweep(world.services) == 1

    looks.look_at_ready(world.services, 10)
    broken_off = looks.look_at_ready(world.services, 10)

    assert broken_off.looked_at == 0
    assert broken_off.resume_after is not None
    assert 50 < broken_off.resume_after.total_seconds() < 62
    assert world.standing() == {"ready"}
    assert looks.sweep(world.services) == 0


def test_one_data_centre_without_budget_does_not_hold_up_the_others(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its accounts wait; the batch continues with those of other origins."""
    world = begin()
    other = world.another()
    tokens = Credentials(other.account["refresh_token"], other.account["access_token"])
    world.services.ledger.connect(Connecting(other.sub, tokens, "de", None, None))
    # Two names of the same sandbox are two origins.
    elsewhere = world.control.base_url.replace("127.0.0.1", "localhost")
    origins = {"us": world.control.base_url, "de": elsewhere}
    monkeypatch.setattr(Cronofy, "origin", lambda _, center: origins.get(center, elsewhere))
    for each, hours in ((world, 1), (other, 2)):
        each.track(hours=hours)
        make_due(each)
    world.services.looker.cronofy.budget(origins["us"]).pause(None)

    assert looks.sweep(world.services) == 1
    assert looks.look_at_ready(world.services, 10).looked_at == 1

    assert world.standing() == {"ready"}
    assert [r["sub"] for r in world.control.requests("/v1/events")] == [other.sub]
