"""The rate limit: kept, used in order of the meetings' starts, and with room for questions."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.acceptance.harness import Fleet, Person, running_fleet, zoom
from tests.waiting import wait_until

#: Cronofy's limits, and our share of the minute.
PER_SECOND, PER_MINUTE, OURS = 50, 100, 80
DUE = 100


@pytest.fixture(scope="module")
def sweepless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet without beat, at limits that Cronofy enforces."""
    limits = {"API_PER_SECOND": str(PER_SECOND), "API_PER_MINUTE": str(PER_MINUTE)}
    with running_fleet(tmp_path_factory.mktemp("budget"), "worker", limits) as fleet:
        fleet.control.set_settings(per_second=PER_SECOND, per_minute=PER_MINUTE)
        yield fleet


def assigned_person(fleet: Fleet, start: timedelta) -> Person:
    """Somebody with an event that gets its conference without a notification."""
    person = fleet.person(zoom("pro_zoom"))
    person.track(person.write("meeting", "pro_zoom", start, subscriptions=[]))
    return person


def test_more_is_due_than_the_budget_allows(sweepless: Fleet) -> None:
    """A hundred accounts are due and our share is eighty calls a minute: they go to the meetings that start
    soonest, Cronofy refuses none, and a question still gets a live answer at once.
    """
    hours = list(range(1, DUE + 1))
    random.Random(7).shuffle(hours)
    due = {assigned_person(sweepless, timedelta(hours=hour)).sub: hour for hour in hours}
    asked = assigned_person(sweepless, timedelta(days=30))
    sweepless.start("beat")

    def reads() -> list[str]:
        logged = sweepless.control.requests("/v1/events")
        return [request["sub"] for request in logged if request["sub"] in due]

    # Nine tenths of our share; the rest is kept for questions.
    wait_until(lambda: len(reads()) == OURS * 0.9, 30, what="the sweep to use up its share")
    answer = sweepless.caller.call(
        "reconcile_event", sub=asked.sub, calendar_id=asked.calendar_id, event_id="meeting"
    )

    assert (answer["state"], len(sweepless.requests(asked.sub, "/v1/"))) == ("assigned", 1)
    order = [due[sub] for sub in reads()]
    # Looks at the same moment may swap places.
    assert max(order) <= len(order) + 10
    assert statistics.correlation(order, range(len(order))) >= 0.95
    statuses = {request["status"] for request in sweepless.control.requests("/v1/")}
    assert statuses == {200}
    rates = sweepless.control.rates()
    assert rates["max_per_second"] <= PER_SECOND * 0.8
    assert len(order) < rates["max_per_minute"] <= OURS
