"""Every meeting is counted once, by the day of its start: with or without its link, why, and what we did."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sandbox.server import RunningSandbox
from tests.integration.world import NOW, Begin, World
from worker.diagnosis.model import Cause
from worker.intake import accept
from worker.intake.payloads import AccountOnly, OneEvent
from worker.ledger.records import from_ms, to_ms
from worker.ledger.tallies import CountedMeeting, Done, Link, number_of, read_days

GENERATING = CountedMeeting(Link.WITH, Cause.GENERATING, Done.NOTHING, "zoom")


def counted(world: World) -> dict[tuple[CountedMeeting, int], int]:
    """How many meetings were counted, by how they began and in how many days from today."""
    ledger, today = world.services.ledger, datetime.now(UTC).date()
    days = read_days(ledger.redis, ledger.keys, today - timedelta(days=3), today + timedelta(days=10))
    found: Counter[tuple[CountedMeeting, int]] = Counter()
    for day in days:
        for meeting, number in day.meetings.items():
            found[meeting, (day.date - today).days] += number
    return dict(found)


def ahead(hours: float) -> int:
    """In how many days a meeting that starts in `hours` begins, in UTC."""
    return ((NOW + timedelta(hours=hours)).date() - datetime.now(UTC).date()).days


def generate(world: World) -> None:
    """Cronofy makes every conference that it can make now."""
    world.control.advance_clock(3601)


def assign(world: World, event_id: str = "e1") -> None:
    """Cronofy makes the conference, and a look sees it."""
    generate(world)
    assert world.look(event_id)["state"] == "assigned"


def move(world: World, start: datetime) -> None:
    """A person moves the event in their calendar."""
    end = start + timedelta(hours=1)
    world.control.move_event(world.calendar_id, "e1", start=start.isoformat(), end=end.isoformat())


def track_past(world: World, event_id: str = "e1", hours: float = -0.5, *, write: bool = True) -> None:
    """Track an event as it was two hours before its start, which has passed by now."""
    world.track(event_id, hours=hours, write=write)
    event = world.stored(event_id).event
    tracked_at = to_ms(NOW + timedelta(hours=hours - 2))
    world.services.ledger.track(world.sub, replace(event, tracked_at=tracked_at))


def test_a_meeting_with_its_link_is_counted_on_the_day_of_its_start(begin: Begin) -> None:
    """Once a look has seen the link, however far ahead the start is."""
    world = begin()
    world.track()
    world.look()
    assert counted(world) == {}

    assign(world)

    assert counted(world) == {(GENERATING, ahead(48)): 1}


def test_a_meeting_that_began_without_is_counted_once(begin: Begin) -> None:
    """By the look after its start, and not again when somebody asks about it later."""
    world = begin()
    track_past(world)
    assert world.look()["state"] == "closed"
    world.look()

    assert counted(world) == {(replace(GENERATING, link=Link.WITHOUT), ahead(-0.5)): 1}


def test_a_link_that_no_look_saw_before_the_start_is_none(begin: Begin) -> None:
    """Nobody can say that it was there in time."""
    world = begin()
    world.track()
    generate(world)
    move(world, NOW - timedelta(hours=0.5))
    track_past(world, write=False)
    assert world.look()["state"] == "assigned"

    assert list(counted(world)) == [(replace(GENERATING, link=Link.WITHOUT), ahead(-0.5))]


def test_one_that_was_tracked_too_late_could_not_have_its_link(begin: Begin) -> None:
    """Less than two minutes before its start; after the start nobody asked us in time at all."""
    world = begin()
    for event_id, before in (("late", timedelta(minutes=1)), ("after", -timedelta(minutes=1))):
        world.track(event_id, hours=-0.5)
        event = world.stored(event_id).event
        tracked_at = to_ms(NOW - timedelta(hours=0.5) - before)
        world.services.ledger.track(world.sub, replace(event, tracked_at=tracked_at))
        world.look(event_id)

    assert counted(world) == {(replace(GENERATING, link=Link.TOO_LATE), ahead(-0.5)): 1}


def test_one_that_was_deleted_did_not_begin(begin: Begin) -> None:
    """Neither with its link nor without."""
    world = begin()
    world.track()
    world.control.delete_event(world.calendar_id, "e1")
    assert world.look()["cause"] == "event_gone"

    assert counted(world) == {}


def test_a_meeting_that_is_written_again_is_counted_once(begin: Begin) -> None:
    """On its new day if it moved; meanwhile the former count stands."""
    world = begin()
    world.track()
    assign(world)
    world.track(write=False, hours=96)
    move(world, NOW + timedelta(hours=96))
    assert world.look()["state"] == "assigned"

    assert counted(world) == {(GENERATING, ahead(96)): 1}


def test_what_began_stays_as_it_began(begin: Begin) -> None:
    """Whatever is written to the event afterwards."""
    world = begin()
    world.track(hours=48)
    assign(world)
    ledger, key, began = world.services.ledger, world.key().field, NOW - timedelta(hours=1)
    # As though 49 hours had passed.
    ledger.redis.hset(ledger.keys.counted(world.sub), key.decode(), f"{to_ms(began)} w1n:zoom 2")
    move(world, began)
    world.track(hours=-1, write=False)
    assert world.look()["state"] == "assigned"

    assert counted(world) == {(GENERATING, ahead(48)): 1}


def test_a_closed_one_that_is_postponed_is_counted_when_it_begins(begin: Begin) -> None:
    """Not on the day that it was first meant for."""
    world = begin()
    track_past(world)
    assert world.look()["state"] == "closed"
    move(world, NOW + timedelta(hours=30))
    assert world.look()["state"] == "pending"
    assert counted(world) == {}
    assign(world)

    assert [(meeting.link, day) for meeting, day in counted(world)] == [(Link.WITH, ahead(30))]


def test_untracked_or_forgotten_before_its_start_it_is_not_counted(begin: Begin) -> None:
    """Nobody knows any more what became of it; one that began stays."""
    world = begin()
    for event_id in ("untracked", "forgotten"):
        world.track(event_id)
        assign(world, event_id)
    track_past(world, "began")
    world.look("began")
    accept.untrack(
        world.services, OneEvent(sub=world.sub, calendar_id=world.calendar_id, event_id="untracked")
    )
    assert sorted(counted(world).values()) == [1, 1]

    accept.forget_account(world.services, AccountOnly(sub=world.sub))

    assert counted(world) == {(replace(GENERATING, link=Link.WITHOUT), ahead(-0.5)): 1}


def test_events_of_a_lost_account_are_counted_without_until_it_is_back(begin: Begin) -> None:
    """No look would see their start, so they are counted at once; connected again, they are corrected."""
    world = begin()
    world.track(hours=24)
    world.control.revoke_refresh_token(world.sub)
    world.control.expire_access_token(world.sub)
    world.look()
    lost = CountedMeeting(Link.WITHOUT, Cause.ACCOUNT_UNAUTHORIZED, Done.NOTHING, "zoom")
    assert counted(world) == {(lost, ahead(24)): 1}

    world.control.authorize(world.sub)
    world.connect()
    assign(world)

    assert [(meeting.link, day) for meeting, day in counted(world)] == [(Link.WITH, ahead(24))]


def test_what_we_did_is_counted(begin: Begin) -> None:
    """A profile that was set in place of a removed one; a user who connected theirs again."""
    world = begin(grace=0)
    world.track("set", profile=world.profiles[0])
    world.control.remove_profile(world.sub, world.profiles[0])
    assert world.look("set")["cause"] == "profile_removed"
    assign(world, "set")
    world.track("back", profile=world.profiles[1])
    world.control.disconnect_profile(world.sub, world.profiles[1])
    assert world.look("back")["cause"] == "credentials_expired"
    world.control.reconnect_profile(world.sub, world.profiles[1])
    assign(world, "back")

    assert counted(world) == {
        (CountedMeeting(Link.WITH, Cause.PROFILE_REMOVED, Done.REASSIGNED, "zoom"), ahead(48)): 1,
        (CountedMeeting(Link.WITH, Cause.CREDENTIALS_EXPIRED, Done.RELINKED, "zoom"), ahead(48)): 1,
    }


def test_a_day_has_a_bounded_number_of_names(begin: Begin) -> None:
    """Services beyond that count as one, and are taken back as that."""
    world = begin()
    ledger = world.services.ledger
    day = ledger.keys.day(str(number_of((NOW + timedelta(hours=48)).date())))
    ledger.redis.hset(day, mapping={f"w1n:service{n}": 1 for n in range(200)})
    world.track()
    assign(world)
    assert counted(world)[replace(GENERATING, provider="other"), ahead(48)] == 1

    accept.untrack(world.services, OneEvent(sub=world.sub, calendar_id=world.calendar_id, event_id="e1"))

    assert sum(counted(world).values()) == 200


def test_the_days_of_a_ledger_are_kept_for_400_days(begin: Begin) -> None:
    """And what is kept of an event, for a day after its start."""
    world = begin()
    world.track()
    assign(world)
    ledger, start = world.services.ledger, NOW + timedelta(hours=48)
    midnight = datetime.combine(start.date(), datetime.min.time(), UTC)

    kept = {
        key: float(ledger.redis.pexpiretime(key))
        for key in (ledger.keys.day(str(number_of(start.date()))), ledger.keys.counted(world.sub))
    }

    assert [from_ms(at) for at in kept.values()] == [
        midnight + timedelta(days=401),
        start + timedelta(days=1),
    ]


def test_what_the_fleet_did_is_kept_by_day(begin: Begin, running: RunningSandbox) -> None:
    """Calls, and users who were asked and came back; what no sweep has noted yet is among them."""
    world = begin(grace=0)
    world.services.ledger.promote(1)
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    before = deeds(world)
    assert (before["asked"], before["back"], before["mails"]) == (1, 0, 0)
    assert before["calls"] >= 2
    world.services.ledger.redis.delete(world.services.ledger.keys.sampled)
    world.services.ledger.promote(1)

    assert deeds(world) == before
    world.control.reconnect_profile(world.sub, world.profiles[0])
    world.look()
    assert deeds(world)["back"] == 1


def deeds(world: World) -> dict[str, int]:
    """What the fleet did today."""
    ledger, today = world.services.ledger, datetime.now(UTC).date()
    (day,) = read_days(ledger.redis, ledger.keys, today, today)
    return dict(day.deeds)
