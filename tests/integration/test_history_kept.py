"""What was seen and done for an event stays readable when a caller tracks it again, or untracks it."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest
from click.testing import CliRunner

from tests.integration.ledgers import an_event, claim, later
from tests.integration.world import Begin, World
from worker.cli import cli
from worker.ledger.leases import Change, EventChange
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey

KEY = EventKey("cal", "e1")


@pytest.fixture
def world(begin: Begin) -> World:
    """An event that was looked at."""
    made = begin()
    made.track()
    made.look()
    return made


def what(world: World) -> list[str]:
    """What an event's history says, without the times."""
    return [word for _, word, _ in world.stored().event.history]


def test_a_letter_to_the_user_is_in_the_events_history(world: World) -> None:
    """Whatever becomes of the episode that it belongs to."""
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    assert what(world) == ["generating", "credentials_expired", "letter_written"]
    [at] = [at for at, word, _ in world.stored().event.history if word == "letter_written"]

    world.control.reconnect_profile(world.sub, world.profiles[0])
    world.look()

    assert (at, "letter_written", "relink") in world.stored().event.history


@pytest.mark.parametrize("how", ["pending", "settled", "untracked"])
def test_a_record_that_is_tracked_again_goes_on_from_the_former(world: World, how: str) -> None:
    """Whatever became of that."""
    ledger = world.services.ledger
    if how == "settled":
        lease = claim(ledger, world.sub)
        ledger.commit(lease, Change([EventChange(s, s.event, settle=True) for s in lease.events]))
    if how == "untracked":
        ledger.untrack(world.sub, world.key())

    world.track(write=False)

    ended = ["untracked"] if how == "untracked" else []
    assert what(world) == ["received", "generating", *ended]
    assert world.stored().event.last is None
    assert ledger.find_untracked(world.sub, world.key()) is None
    world.look()
    assert what(world) == ["received", "generating", *ended, "generating"]


def test_an_event_that_was_untracked_is_explained(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not tracked: since when, and what happened before."""
    settings = world.services.settings
    monkeypatch.setenv("RECONCILER_REDIS_URL", settings.redis_url or "")
    monkeypatch.setenv("RECONCILER_KEY_PREFIX", settings.key_prefix)
    world.services.ledger.untrack(world.sub, world.key())

    run = CliRunner().invoke(cli, ["explain", "--offline", world.sub, world.calendar_id, "e1"])

    assert run.exit_code == 1
    lines = run.stderr.splitlines()
    assert lines[0].endswith("is not tracked.")
    assert lines[1].startswith("It was, until it was untracked at ")
    assert [line.split("  ")[-1] for line in lines if line.startswith("  20")] == [
        "received: tracked",
        "still being created: waited",
        "untracked: not watched any more",
    ]


def test_a_former_record_that_cannot_be_read_is_replaced(ledger: Ledger) -> None:
    """Nothing keeps an event from being tracked."""
    ledger.track("acc", an_event())
    ledger.redis.hset(ledger.keys.events("acc"), cast("str", KEY.field), b"\x00" * 40)

    ledger.track("acc", an_event())

    found = ledger.find_pending("acc", KEY)
    assert found is not None
    assert found.event.history == ()


def test_what_was_untracked_is_kept_as_long_as_what_was_settled(ledger: Ledger) -> None:
    """Then it goes, and so do those that were untracked earlier."""
    brief = Ledger(ledger.redis, ledger.prefix, ledger.vault, timedelta(hours=1), 100)
    key = ledger.keys.untracked("acc")
    for event_id in ("e1", "e2"):
        brief.track("acc", an_event(event_id))
        brief.untrack("acc", EventKey("cal", event_id))
    assert 0 < ledger.redis.pttl(key) <= 3_600_000
    assert ledger.redis.hlen(key) == 2
    none = Ledger(ledger.redis, ledger.prefix, ledger.vault, timedelta(milliseconds=-1), 100)

    none.track("acc", an_event("e3"))
    none.untrack("acc", EventKey("cal", "e3"))

    assert not ledger.redis.exists(key)


def test_it_is_forgotten_with_its_account(ledger: Ledger) -> None:
    """No trace of it stays."""
    ledger.track("acc", an_event())
    lease = claim(ledger)
    ledger.commit(lease, Change([EventChange(s, later(s)) for s in lease.events]))
    ledger.untrack("acc", KEY)
    assert ledger.find_untracked("acc", KEY)

    ledger.forget("acc")

    assert ledger.find_untracked("acc", KEY) is None
