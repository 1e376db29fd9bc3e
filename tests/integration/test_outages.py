"""A service that fails is one fact: canaries are looked at for all, and each event before its start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.queues import Queues
from tests.integration.world import NOW, Begin, World
from worker.diagnosis.model import Cause
from worker.ledger.figures import announce
from worker.ledger.records import from_ms
from worker.run import looks
from worker.status.snapshot import read_status
from worker.status.trouble import troubles
from worker.trouble import Kind

#: As many reports begin an outage.
REPORTS = 10
FAR = timedelta(minutes=30)


def failing(begin: Begin, accounts: int = REPORTS, hours: float = 48) -> list[World]:
    """Accounts whose event gets no link, as notified and looked at, one after the other."""
    first = begin(profiles=1, escalation_email="ops@example.org")
    worlds = [first, *(first.another() for _ in range(accounts - 1))]
    for number, world in enumerate(worlds):
        one_more(world, hours + number)
    return worlds


def one_more(world: World, hours: float = 48, event_id: str = "e1") -> None:
    """An event that gets no link, as notified."""
    world.control.begin_outage("zoom")
    world.track(event_id, hours=hours)
    world.notify(event_id, "conferencing_failing")
    looks.look_at_account(world.services, world.sub)


def wait_for(world: World, event_id: str = "e1") -> timedelta:
    """How far away the event's next look is."""
    next_look = world.stored(event_id).event.next_look
    assert next_look is not None
    return from_ms(next_look) - world.services.ledger.now()


def outages(world: World) -> dict[bytes, bytes]:
    found: Any = world.services.ledger.redis.hgetall(world.services.ledger.keys.outages)
    return dict(found)


def held(world: World) -> int:
    return world.services.ledger.lists.size("held:provider_outage:zoom@us")


def test_ten_reports_begin_an_outage_and_what_follows_is_held(begin: Begin) -> None:
    """Below that each event is polled for itself."""
    worlds = failing(begin, REPORTS + 2)

    assert list(outages(worlds[0])) == [b"provider_outage:zoom@us"]
    assert all(wait_for(world) < FAR for world in worlds[:REPORTS])
    assert all(wait_for(world) > FAR for world in worlds[REPORTS:])
    assert held(worlds[0]) == 2


def test_an_event_without_a_notice_is_explained_by_the_others(begin: Begin) -> None:
    """Its caller passes on no notifications; it is held all the same."""
    worlds = failing(begin)
    quiet = worlds[0].another()
    quiet.track(hours=60)

    answer = quiet.look()

    assert (answer["cause"], answer["certainty"]) == (Cause.PROVIDER_OUTAGE, "likely")
    assert "has given no link to anybody here since" in " ".join(answer["evidence"])
    assert wait_for(quiet) > FAR


def test_a_notice_that_says_what_is_known_costs_no_call(begin: Begin) -> None:
    """The event is held, and stays so."""
    worlds = failing(begin)
    one_more(worlds[0], 60, "e2")
    calls = len(worlds[0].calls())

    assert worlds[0].notify("e2", "conferencing_failing") == ()
    assert wait_for(worlds[0], "e2") > FAR
    assert len(worlds[0].calls()) == calls
    worlds[0].notify("e2", "conferencing_assigned")
    assert wait_for(worlds[0], "e2") <= timedelta(0)


@pytest.mark.parametrize(("hours", "before"), [(3, 1), (0.9, 0.25), (0.2, 1 / 60)])
def test_each_is_looked_at_before_its_start(begin: Begin, hours: float, before: float) -> None:
    """When a person should know, when the last resort would be due, and once more."""
    worlds = failing(begin)
    late = worlds[0].another()
    # Its start is counted from the time at which the tests began, perhaps long ago.
    one_more(late, hours + (datetime.now(UTC) - NOW) / timedelta(hours=1))

    starts = late.stored().event.starts_at
    assert starts is not None
    look_at = late.services.ledger.now() + wait_for(late)
    assert abs(starts - look_at - timedelta(hours=before)) < timedelta(seconds=5)


def test_a_link_ends_it_and_all_are_looked_at_the_soonest_first(begin: Begin) -> None:
    """What was held is due at once, before what merely waits."""
    worlds = failing(begin, REPORTS + 3, hours=2)
    ledger = worlds[0].services.ledger
    canary = worlds[-1]
    canary.control.end_outage("zoom")
    canary.control.advance_clock(3_700)
    canary.notify("e1", "conferencing_assigned")
    looks.look_at_account(canary.services, canary.sub)
    assert outages(canary)[b"provider_outage:zoom@us"].startswith(b"-")

    looks.sweep(canary.services)

    lease = ledger.claim(timedelta(seconds=30))
    again = ledger.claim(timedelta(seconds=30))
    assert lease is not None
    assert again is not None
    assert [lease.sub, again.sub] == [worlds[REPORTS].sub, worlds[REPORTS + 1].sub]
    assert (outages(canary), held(canary)) == ({}, 0)


def test_canaries_are_the_soonest_and_another(begin: Begin) -> None:
    """At most two of them at a time, and not before the pause is over."""
    worlds = failing(begin, REPORTS + 6, hours=2)
    ledger = worlds[0].services.ledger

    looks.sweep(worlds[0].services)

    due = [world for world in worlds[REPORTS:] if wait_for(world) <= timedelta(0)]
    assert worlds[REPORTS] in due
    assert len(due) <= 2
    assert ledger.see_to_outages(300, timedelta(seconds=30)) == 0
    assert [world for world in worlds[REPORTS:] if wait_for(world) <= timedelta(0)] == due


def test_a_link_in_between_starts_the_count_over(begin: Begin) -> None:
    """A service that still gives links does not fail."""
    worlds = failing(begin, REPORTS - 1)
    well = worlds[0].another()
    well.control.end_outage("zoom")
    well.control.set_settings(generation_seconds=0)
    well.track()
    well.look()
    one_more(worlds[0].another())

    assert outages(worlds[0]) == {}


def test_an_outage_is_an_incident(begin: Begin) -> None:
    """It is told once, though none of its events needs a person alone."""
    worlds = failing(begin, REPORTS + 5)
    [incident] = worlds[0].services.ledger.incidents.open()

    assert (incident.group, incident.provider, incident.data_center) == (
        "provider_outage:zoom@us",
        "zoom",
        "us",
    )
    assert (incident.cause, incident.news, incident.total) == (Cause.PROVIDER_OUTAGE, True, 5)


#: There is neither a worker nor beat here, and outages are incidents.
ASIDE = (Kind.NO_WORKER, Kind.FLEET_PAUSED, Kind.INCIDENTS)


def sentences(world: World) -> list[str]:
    settings = world.services.settings
    found = troubles(read_status(world.services.ledger.redis, settings))
    return [each.sentence for each in found if each.kind not in ASIDE]


def test_status_says_which_since_when_and_for_how_many(begin: Begin) -> None:
    """And metrics count it once."""
    worlds = failing(begin, REPORTS + 2)

    [sentence] = sentences(worlds[0])

    assert sentence.startswith("A conferencing service gives no links: Zoom, for")
    assert sentence.endswith("(us); 2 events wait for it, and a few are looked at for all.")
    status = read_status(worlds[0].services.ledger.redis, worlds[0].services.settings)
    [outage] = status.as_json["outages"]
    assert (outage["kind"], outage["provider_name"], outage["events"]) == ("provider_outage", "zoom", 2)


def test_alerts_do_not_count_what_is_held(begin: Begin) -> None:
    """The next start without a link is that of another event."""
    worlds = failing(begin, REPORTS)
    one_more(worlds[0], 1, "soon")

    status = read_status(worlds[0].services.ledger.redis, worlds[0].services.settings)

    first = worlds[0].stored("e1").event.starts_at
    assert (status.soonest[0].event_id, status.soonest_unanswered) == ("soon", first)


def test_late_accounts_are_counted_with_the_reason(begin: Begin) -> None:
    """How many, by how much, and what would help."""
    world = begin(profiles=1)
    world.track()
    ledger = world.services.ledger
    ledger.redis.zadd(ledger.keys.due, {world.sub: (ledger.now() - timedelta(minutes=4)).timestamp() * 1000})

    assert sentences(world) == ["Looks are late: 1 account, by up to 4 min; no worker is running."]
    announce(ledger.redis, ledger.keys, "one@host", Queues.of(ledger.prefix))
    ledger.promote(0)
    assert sentences(world) == ["Looks are late: 1 account, by up to 4 min; there are too few workers."]
    ledger.set_paused(True)
    assert sentences(world) == ["Looks are late: 1 account, by up to 4 min; an operator paused the fleet."]


def test_lapses_in_number_are_one_fact_too(begin: Begin) -> None:
    """An administrator revoked the application: the users are asked, and few of the events looked at."""
    world = begin(profiles=1)
    ledger = world.services.ledger
    world.control.disconnect_profile(world.sub, world.profiles[0])
    now = ledger.now().timestamp() * 1000
    ledger.redis.rpush(ledger.keys.reports("credentials_expired:zoom@us"), *[now] * 49)
    world.track("e1")
    world.look("e1")
    world.track("e2")
    world.look("e2")

    assert wait_for(world, "e1") < FAR < wait_for(world, "e2")
    [incident] = ledger.incidents.open()
    assert (incident.kind, incident.provider) == ("lapsed", "zoom")
    world.control.reconnect_profile(world.sub, world.profiles[0])
    world.look("e1")
    looks.sweep(world.services)
    assert outages(world) == {}
    assert wait_for(world, "e2") < FAR
