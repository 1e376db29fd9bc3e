"""`reconciler adopt` takes up events that wait for conferencing and that nobody tracked (contract §6)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.acceptance.processes import environment
from tests.integration.world import Begin, World
from tests.waiting import wait_until
from worker.cli import cli
from worker.intake import accept
from worker.intake.payloads import AccountOnly, OneEvent
from worker.ledger.leases import Lease
from worker.reconcile.update import why_not_written
from worker.run import adoption, looks


def settings_of(world: World) -> dict[str, str]:
    """The environment with the settings of the world's services."""
    settings = world.services.settings
    return environment(
        REDIS_URL=settings.ledger_url,
        KEY_PREFIX=settings.key_prefix,
        VAULT_KEYS=settings.vault_keys[0].get_secret_value(),
        CRONOFY_CLIENT_ID="sandbox-client",
        CRONOFY_CLIENT_SECRET="sandbox-secret",
        CRONOFY_API_URL=str(settings.cronofy_api_url),
        API_PER_MINUTE=str(settings.api_per_minute),
        API_PER_SECOND=str(settings.api_per_second),
    )


def run(world: World, *args: str) -> Result:
    """`reconciler adopt`."""
    return CliRunner().invoke(cli, ["adopt", *args], env=settings_of(world), catch_exceptions=False)


def counts(result: Result) -> dict[str, Any]:
    """What it printed with --json, without what is 0."""
    return {name: count for name, count in json.loads(result.stdout).items() if count}


def written(world: World, *event_ids: str, **fields: Any) -> None:
    """Events at Cronofy that nobody tracks."""
    for event_id in event_ids or ("e1",):
        world.control.create_event(world.sub, world.calendar_id, world.body(event_id, **fields))


@pytest.fixture
def fast(begin: Begin) -> Begin:
    """Starts a world with plenty of budget, so that no pace is to be kept."""
    return lambda **settings: begin(**{"api_per_minute": 100_000, "api_per_second": 1000, **settings})


def test_what_waits_for_conferencing_is_adopted(fast: Begin) -> None:
    """Nothing else: no assigned, past, cancelled or tracked one, nor what asked for none or people made."""
    world = fast()
    world.control.set_settings(generation_seconds=0)
    written(world, "assigned")
    world.control.set_settings(generation_seconds=3600)
    written(world, "waits", "also waits")
    written(world, "asked for none", conferencing=None)
    written(world, "past", hours=-3)
    written(world, "cancelled")
    world.control.cancel_event(world.calendar_id, "cancelled")
    times = {name: world.body()[name] for name in ("start", "end")}
    world.control.create_external_event(world.sub, world.calendar_id, summary="Lunch", **times)
    world.track("tracked")

    result = run(world, "--json")

    assert (result.exit_code, counts(result)) == (0, {"accounts": 1, "adopted": 2, "tracked": 1})
    pending = world.services.ledger.pending(world.sub)
    assert {s.event.key.event_id for s in pending if s.event.adopted} == {"waits", "also waits"}
    assert world.writes() == []


def test_an_adopted_event_is_looked_at_like_any_other(fast: Begin) -> None:
    """What it asked for is unknown, and the evidence says so; its link is reported once it is there."""
    world = fast()
    written(world)
    world.control.disconnect_profile(world.sub, world.profiles[0])
    run(world)

    found = world.look()
    world.control.reconnect_profile(world.sub, world.profiles[0])
    world.control.set_settings(generation_seconds=0)
    written(world)
    world.control.set_settings(generation_seconds=3600)
    then = world.look()

    assert (found["state"], found["cause"], found["certainty"]) == ("pending", "generating", "likely")
    assert "The event has no profile on record, so we cannot tell which profile it uses." in found["evidence"]
    assert f"Disconnected, and possibly the cause: {world.profiles[0]}." in found["evidence"]
    assert then["state"] == "assigned"
    assert world.types() == ["assigned"]


def test_a_user_is_mailed_about_the_calendar_of_an_adopted_event(fast: Begin) -> None:
    """That does not depend on what the event asked for; the email has what the read showed."""
    world = fast()
    written(world)
    run(world)
    world.control.disconnect_profile(world.sub, world.account["calendar_profiles"][0]["profile_id"])

    found = world.look()

    assert (found["cause"], world.types()) == ("credentials_expired", ["relink_requested"])
    [mail] = world.mails()
    assert b"Interview e1" in mail.message


def test_an_adopted_event_is_never_written(fast: Begin) -> None:
    """A read shows the description rendered and no subscriptions: whoever would write it is refused."""
    world = fast()
    written(world, description="", attendees=None)
    run(world)
    lease = world.services.ledger.claim_account(world.sub, timedelta(seconds=30))
    assert isinstance(lease, Lease)
    [stored] = lease.events

    why = why_not_written(stored.event, stored.event.remembered)

    assert why is not None
    assert why.startswith("The event was adopted: nobody tracked the body that it was written with")


def test_an_adopted_event_gets_no_last_resort(fast: Begin) -> None:
    """Shortly before its start the evidence says why, and a person is told."""
    world = fast(fallback="any_connected,integrated", fallback_before="PT2H", escalate_before="PT2H", grace=0)
    written(world, hours=1)
    run(world)

    found = world.look()

    assert (found["cause"], found["remedy"], world.writes()) == ("unexplained", "escalate", [])
    assert any(sentence.startswith("The event was adopted") for sentence in found["evidence"])
    assert world.types() == ["escalated"]


def test_tracking_replaces_an_adopted_record(fast: Begin) -> None:
    """Then everything applies: another adoption leaves the caller's record alone."""
    world = fast()
    written(world)
    run(world)

    world.track(write=False)
    again = run(world, "--json")
    world.control.remove_profile(world.sub, world.profiles[1])
    world.control.remove_profile(world.sub, world.profiles[0])

    assert counts(again) == {"accounts": 1, "tracked": 1}
    assert not world.stored().event.adopted
    assert world.look()["cause"] == "profile_removed"


def test_a_dry_run_changes_nothing_and_says_what_it_would_take_up(fast: Begin) -> None:
    """As lines, or as JSON."""
    world = fast()
    written(world, "e1")
    world.track("e2")

    shown, as_json = run(world, "--dry-run"), run(world, "--dry-run", "--json")

    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    assert f"{world.sub} {world.calendar_id} e1  " in shown.stdout
    assert "1 account read: 1 event would be adopted, 1 known already" in shown.stdout
    [event] = counts(as_json)["events"]
    assert (event["event_id"], event["summary"]) == ("e1", "Interview e1")
    assert [s.event.key.event_id for s in world.services.ledger.pending(world.sub)] == ["e2"]


def test_accounts_that_cannot_be_read_are_named_and_the_others_are_read(fast: Begin) -> None:
    """A lost one is skipped; one that Cronofy gave no answer for is left, which the exit code says."""
    world = fast()
    lost, failing = world.another(), world.another()
    for each in (world, lost, failing):
        written(each)
    ledger = world.services.ledger
    ledger.redis.hset(ledger.keys.account(lost.sub), "standing", "lost")
    world.control.add_fault("status", status=503, match={"sub": failing.sub})

    result = run(world, "--json")
    named = run(world, lost.sub)

    assert (result.exit_code, named.exit_code) == (1, 1)
    assert counts(result) == {"accounts": 1, "adopted": 1, "skipped": 1, "left": 1}
    assert f"{lost.sub}: Cronofy refuses it until it is connected again." in result.stderr
    assert f"{failing.sub}: " in result.stderr


def test_an_account_that_is_refused_just_now_is_skipped(fast: Begin) -> None:
    """Whether it is lost is for a look to say."""
    world = fast()
    world.control.expire_access_token(world.sub)
    world.control.revoke_refresh_token(world.sub)

    result = run(world, "--json")

    assert counts(result) == {"skipped": 1}
    assert "invalid_grant" in result.stderr
    assert not world.services.ledger.account(world.sub).lost


def test_an_account_held_by_a_look_is_waited_for(fast: Begin) -> None:
    """Afterwards it stands where it stood."""
    world = fast(look_timeout=10, http_timeout=1)
    written(world)
    world.track("e2")
    before = world.standing()
    assert isinstance(world.services.ledger.claim_account(world.sub, timedelta(seconds=1)), Lease)

    result = run(world, "--json")

    assert counts(result) == {"accounts": 1, "adopted": 1, "tracked": 1}
    assert world.standing() == before == {"waiting"}


def test_a_forgotten_account_is_not_taken_up(fast: Begin) -> None:
    """It was forgotten after it was read; nor is it remembered as the place to go on from."""
    world = fast()
    written(world)
    ledger = world.services.ledger
    with world.services.looker.cronofy.session(ledger.account(world.sub)) as session:
        items = session.read_events((), None)
    key, shown = next(iter(items.items()))
    event = adoption.to_adopt(key, shown, ledger.now(), world.services.looker.policy)
    assert event is not None
    ledger.keep_adopted_up_to(world.sub)

    accept.forget_account(world.services, AccountOnly(sub=world.sub))

    assert ledger.adopt(world.sub, [event]) == 0
    assert ledger.adopted_up_to() is None
    assert ledger.pending(world.sub) == ()


def subs_in_order(world: World, count: int) -> list[str]:
    """So many more accounts with an event each; all accounts, in the order of a run."""
    others = [world.another() for _ in range(count)]
    for each in (world, *others):
        written(each)
    return sorted([world.sub, *(each.sub for each in others)])


def adopted(world: World, subs: Sequence[str]) -> list[int]:
    """How many events each account has."""
    return [len(world.services.ledger.pending(sub)) for sub in subs]


def test_a_killed_run_goes_on_where_it_was(fast: Begin) -> None:
    """The second one reads the account in the middle and those after it, and none twice."""
    world = fast(look_timeout=3, http_timeout=3)
    subs = subs_in_order(world, 3)
    world.control.add_fault("hang", match={"sub": subs[2]}, times=1)
    env = settings_of(world) | {"RECONCILER_LOOK_TIMEOUT": "60", "RECONCILER_HTTP_TIMEOUT": "60"}
    env |= {"RECONCILER_TASK_TIME_LIMIT": "61", "RECONCILER_VISIBILITY_TIMEOUT": "70"}
    with subprocess.Popen([sys.executable, "-m", "worker.cli", "adopt"], env=env) as first:
        try:
            wait_until(lambda: world.services.ledger.adopted_up_to() == subs[1], 30, what="half of a run")
            wait_until(lambda: "leased" in world.standing(subs[2]), 30, what="a read that hangs")
        finally:
            first.kill()
    before = adopted(world, subs)
    # As though its lease had expired.
    world.services.ledger.redis.zadd(world.services.ledger.keys.leased, {subs[2]: 0})
    world.control.clear_faults()

    result = run(world, "--json")

    assert (before, adopted(world, subs)) == ([1, 1, 0, 0], [1, 1, 1, 1])
    assert counts(result) == {"accounts": 2, "adopted": 2}
    assert f"Going on after the account {subs[1]}" in result.stderr
    assert world.services.ledger.adopted_up_to() is None


def test_a_run_keeps_to_a_quarter_of_the_budget(begin: Begin) -> None:
    """Looks come first: so many calls a minute are left to them."""
    world = begin(api_per_minute=750, api_per_second=1000)
    subs = subs_in_order(world, 4)
    started = world.services.ledger.now()

    result = run(world, "--json")

    assert counts(result)["accounts"] == len(subs)
    # A share of 0.8 and a quarter of that are two and a half calls a second, and the first is free.
    assert world.services.ledger.now() - started >= timedelta(seconds=4 / 2.5)


def test_a_budget_that_is_spent_stops_the_run_and_the_next_one_goes_on(fast: Begin) -> None:
    """After some patience, with the reason; nothing is lost."""
    world = fast()
    subs = subs_in_order(world, 2)
    services, told = world.services, list[str]()
    todo, _ = adoption.accounts_to_read(services, ())
    steps = adoption.adopt(
        services, todo, dry_run=False, resumable=True, tell=lambda sub, _: told.append(sub), patience=0.0
    )
    next(steps)
    services.ledger.set_paused(True)

    with pytest.raises(adoption.Stopped, match="An operator paused the fleet"):
        next(steps)
    refused = run(world)
    services.ledger.set_paused(False)
    todo, after = adoption.accounts_to_read(services, ())

    assert (todo, after, told) == (subs[1:], subs[0], [])
    assert (refused.exit_code, "The fleet is paused" in refused.stderr) == (1, True)
    assert world.standing(subs[1]) <= {"waiting"}


def test_looks_at_other_events_go_on(fast: Begin) -> None:
    """A look that finds a new record beside its own leaves it to its time."""
    world = fast()
    world.track("e2")
    written(world, "e1")
    lease = world.services.ledger.claim_account(world.sub, timedelta(seconds=30))
    assert isinstance(lease, Lease)
    key, shown = world.key(), world.body()
    item = {**shown, "calendar_id": world.calendar_id, "conferencing": {"pending": True}}
    event = adoption.to_adopt(key, [item], lease.now, world.services.looker.policy)
    assert event is not None

    assert world.services.ledger.adopt(world.sub, [event]) == 1
    looks.guarded_look(world.services, lease, [world.key("e2")])

    assert world.standing() == {"waiting"}
    assert len(world.services.ledger.pending(world.sub)) == 2


def test_what_a_caller_untracked_stays_untracked(fast: Begin) -> None:
    """Somebody wanted that; a dry run says the same."""
    world = fast()
    world.track()
    accept.untrack(world.services, OneEvent(sub=world.sub, calendar_id=world.calendar_id, event_id="e1"))

    tried, done = run(world, "--dry-run", "--json"), run(world, "--json")

    assert counts(tried) == counts(done) == {"accounts": 1, "tracked": 1}
    assert world.services.ledger.pending(world.sub) == ()


def test_the_history_tells_where_a_record_came_from(fast: Begin) -> None:
    """Also after a caller tracked the event."""
    world = fast()
    written(world)
    run(world)
    adopted_record = world.stored().event.origin
    world.track(write=False)

    event = world.stored().event

    assert (adopted_record, event.origin) == (("found by a read", "adopted"), ("received", "tracked"))
    assert event.history[0][1:] == ("found by a read", "adopted")
