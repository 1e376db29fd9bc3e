"""Updates of events that are not as they were tracked: changed since, read in another form, or a series."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.integration.world import NOW, Begin, World

EVENTS = {"path_prefix": "/v1/events"}


def shown(world: World, *events: dict[str, Any]) -> dict[str, Any]:
    """An answer of Read Events with these pending events, all with the id ``e1``."""
    common = {"calendar_id": world.calendar_id, "event_id": "e1", "deleted": False, "summary": "Interview e1"}
    pending = {"conferencing": {"pending": True}}
    return {
        "pages": {"current": 1, "total": 1},
        "events": [
            {**common, **pending, "event_uid": f"evt_{number}", **event}
            for number, event in enumerate(events)
        ],
    }


def on_day(days: float, **fields: Any) -> dict[str, Any]:
    """Half an hour, so many days from now."""
    start = NOW + timedelta(days=days)
    return {"start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat(), **fields}


def answers(world: World, *reads: dict[str, Any]) -> None:
    """These are what the next reads show."""
    for read in reads:
        world.control.add_fault("wrong_shape", body=read, match=EVENTS, times=1)


def without_profile(world: World, **fields: Any) -> dict[str, Any]:
    """Track an event whose profile is gone; exactly one other fits."""
    body = world.track(**fields)
    world.control.remove_profile(world.sub, world.profiles[0])
    return body


@pytest.mark.parametrize("order", [(2, 9, 16), (16, 2, 9), (-5, 16, 2)], ids=str)
def test_occurrences_with_one_id_are_judged_by_the_next_and_never_written(
    begin: Begin, order: tuple[int, ...]
) -> None:
    """However the read orders them: a person is told once, with the sentence that says why."""
    world = begin()
    without_profile(world)
    reads = shown(world, *(on_day(days) for days in order))
    # Each look reads twice: an event that moves between two pages may also be there twice.
    answers(world, reads, reads, reads, reads)

    answer = [world.look(), world.look()][1]

    assert (answer["state"], answer["cause"], answer["remedy"]) == ("pending", "profile_removed", "escalate")
    assert (world.writes(), world.types()) == ([], ["escalated"])
    assert "The event is one of a series" in world.outcomes()[0]["detail"]["reason"]
    assert world.stored().event.starts_at == NOW + timedelta(days=2)


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        pytest.param({"recurrence": {"rules": [{"frequency": "weekly"}]}}, {}, id="by its record"),
        pytest.param({}, {"recurring": True}, id="by the read"),
        pytest.param({}, {"series_identifier": "series_1"}, id="by the name of its series"),
    ],
)
def test_a_series_of_which_one_is_shown_is_not_written(
    begin: Begin, fields: dict[str, Any], read: dict[str, Any]
) -> None:
    """The others are elsewhere in the calendar."""
    world = begin()
    without_profile(world, **fields)
    answers(world, shown(world, on_day(2, **read)))

    assert world.look()["remedy"] == "escalate"
    assert (world.writes(), world.types()) == ([], ["escalated"])


def test_an_occurrence_that_is_over_closes_no_series(begin: Begin) -> None:
    """What is to come is looked for beyond the window; it decides from then on."""
    world = begin()
    world.track(hours=-1, recurrence={"rules": [{"frequency": "weekly"}]})
    first, second = on_day(-1 / 24), on_day(7 - 1 / 24)
    answers(world, shown(world, first), shown(world, first, second))

    answer = world.look()

    assert (answer["state"], answer["cause"], world.types()) == ("pending", "generating", [])
    assert world.stored().event.starts_at == datetime.fromisoformat(second["start"])
    assert ["from=" in r["query"] for r in world.control.requests("/v1/events")] == [True, False]


def test_a_series_of_which_only_the_first_is_ever_shown_stays_open(begin: Begin) -> None:
    """When the next is, nobody says; one whose occurrences are all shown closes with the last."""
    world = begin()
    world.track(hours=-1)
    first = shown(world, on_day(-1 / 24, recurring=True))
    for second in (first, shown(world)):
        answers(world, first, second)
        assert world.look()["state"] == "pending"

    answers(world, first, shown(world, on_day(-8), on_day(-1 / 24)))
    assert world.look()["cause"] == "event_in_past"


def test_what_the_caller_changed_since_is_not_put_back(begin: Begin) -> None:
    """It wrote the event again without tracking that: the update has what the read shows."""
    world = begin()
    old = without_profile(
        world, description="Old", location={"description": "Room 1"}, url="https://a.example"
    )
    later: dict[str, Any] = {
        "description": "New",
        "location": {"description": "Room 5"},
        "transparency": "transparent",
    }
    later |= {"event_private": True, "url": "https://b.example", "reminders": [{"minutes": 5}]}
    world.control.create_event(world.sub, world.calendar_id, {**old, **later, "summary": "Second interview"})

    world.look()

    (write,) = world.writes()
    kept = {name: value for name, value in later.items() if name != "url"}
    assert {name: write["body"].get(name) for name in kept} == kept
    assert write["body"]["summary"] == "Second interview"
    event = world.control.event(world.calendar_id, "e1")
    assert {name: event[name] for name in later} == later


def test_what_cannot_be_told_apart_is_told_to_a_person(begin: Begin) -> None:
    """The description was changed, and the record's has a template: neither is written over the other."""
    world = begin()
    body = without_profile(world)
    world.control.create_event(world.sub, world.calendar_id, {**body, "description": "Come to room 5"})

    answer = [world.look(), world.look()][1]

    assert (answer["remedy"], world.writes(), world.types()) == ("escalate", [], ["escalated"])
    assert "another description than the record's template" in answer["evidence"][-1]
    explained = world.explain().answer
    assert explained["evidence"] == answer["evidence"]

    world.track(description="Come to room 5")
    assert world.look()["remedy"] == "reassign_profile"
    assert [write["body"]["description"] for write in world.writes()] == ["Come to room 5"]


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
def test_a_read_in_utc_leaves_the_callers_zone(begin: Begin, wrapped: bool) -> None:
    """The time is the same, so it goes back in the caller's own words."""
    world, zone = begin(), "America/New_York"
    times = {
        name: {"time": (NOW + timedelta(days=3, hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ"), "tzid": zone}
        for name, hours in (("start", 0), ("end", 1))
    }
    without_profile(world, **times)
    read = {n: {**t, "tzid": "Etc/UTC"} if wrapped else t["time"] for n, t in times.items()}
    answers(world, shown(world, read))

    world.look()

    (write,) = world.writes()
    assert {name: write["body"][name] for name in times} == times
