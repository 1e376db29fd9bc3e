"""Clocks that are wrong or are set: leases, looks, sweeps and the budget use the server's, beat none."""

from __future__ import annotations

import datetime as dates
import sys
import time
from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any, Self

import pytest

from config.settings import load_settings
from tests.integration.ledgers import SHORT, claim
from tests.integration.world import Begin
from tests.waiting import wait_until
from worker.cronofy.budget import Budget
from worker.cronofy.http import parse_retry_after
from worker.ledger.leases import Held
from worker.ledger.ledger import Ledger
from worker.ledger.records import to_ms
from worker.run import looks
from worker.status.snapshot import read_status

JUMPS = {
    "ten years ahead": 3650.0,
    "ten years back": -3650.0,
    "an hour ahead": 1 / 24,
    "a minute back": -1e-3,
}
jumps = pytest.mark.parametrize("days", JUMPS.values(), ids=JUMPS)


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Shifts this host's clock by this many days, for the program's modules."""

    def set_off(days: float) -> None:
        real, seconds = time.time, days * 86400

        class Shifted(dates.datetime):
            @classmethod
            def now(cls, tz: dates.tzinfo | None = None) -> Self:
                return cls.fromtimestamp(real() + seconds, tz)

        monkeypatch.setattr(time, "time", lambda: real() + seconds)
        for name, module in list(sys.modules.items()):
            if name.startswith(("worker.", "tasks.", "config.")) and hasattr(module, "datetime"):
                monkeypatch.setattr(module, "datetime", Shifted)

    return set_off


@jumps
def test_a_lease_is_as_long_as_the_server_says(
    begin: Begin, jump: Callable[[float], None], days: float
) -> None:
    """It expires exactly on time, and the next look stays as planned."""
    world = begin()
    world.track()
    planned = world.stored().event.next_look
    ledger = world.services.ledger
    lease = claim(ledger, world.sub, timedelta(seconds=30))

    jump(days)

    assert ledger.promote(100).expired == 0
    held = ledger.claim_account(world.sub, timedelta(seconds=30))
    assert isinstance(held, Held)
    assert timedelta(seconds=20) < held.remaining <= timedelta(seconds=30)
    assert abs(ledger.now() - lease.now) < timedelta(seconds=10)
    ledger.release(lease)
    assert ledger.promote(100).due == 0
    assert world.stored().event.next_look == planned
    claim(ledger, world.sub, SHORT)
    wait_until(lambda: ledger.promote(100).expired == 1, 5, what="the lease to expire")


@jumps
def test_a_look_judges_by_the_servers_clock(begin: Begin, jump: Callable[[float], None], days: float) -> None:
    """An event in two days is neither past nor overdue, and its next look is correct."""
    world = begin(recheck_min=30)
    world.track()

    jump(days)
    world.track("e2")
    answers = [world.look(event_id) for event_id in ("e1", "e2")]

    assert [answer["cause"] for answer in answers] == ["generating", "generating"]
    next_check = dates.datetime.fromisoformat(answers[0]["next_check_at"])
    wait = next_check - world.services.ledger.now()
    assert timedelta(seconds=20) < wait <= timedelta(seconds=30)
    assert world.types() == []


@jumps
def test_the_budget_counts_by_the_servers_clock(
    begin: Begin, jump: Callable[[float], None], days: float
) -> None:
    """What was spent before the jump still counts after it, and a pause keeps its length."""
    world = begin(api_per_second=100, api_per_minute=4, api_share=1)
    for event_id in ("e1", "e2", "e3"):
        world.track(event_id)
    world.look()
    before = len(world.calls())

    jump(days)
    for _ in range(6):
        world.look()

    assert before < len(world.calls()) <= 4
    rest = looks.look_at_account(world.services, world.sub).resume_after
    assert rest is not None
    assert timedelta(seconds=20) < rest < timedelta(seconds=70)


def test_a_batch_ends_in_time_whatever_the_clock_says(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, jump: Callable[[float], None]
) -> None:
    """The clock jumps in the middle of a look; the look is committed like any other."""
    world = begin(recheck_min=0.01, recheck_max=0.02)
    world.track()
    wait_until(lambda: world.services.ledger.promote(100).due, 5, what="it to be due")
    commit = world.services.ledger.commit

    def commit_after_a_jump(*args: Any, **kwargs: Any) -> Any:
        jump(3650)
        return commit(*args, **kwargs)

    monkeypatch.setattr(world.services.ledger, "commit", commit_after_a_jump)

    assert looks.look_at_ready(world.services, 1).looked_at == 1
    assert world.stored().event.last is not None


def test_a_retry_after_date_is_relative_to_the_answers_date(jump: Callable[[float], None]) -> None:
    """Cronofy's clock says both when the answer was made and when to retry."""
    made = dates.datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
    header = [f"{moment:%a, %d %b %Y %H:%M:%S GMT}" for moment in (made + timedelta(seconds=40), made)]

    jump(-3650)

    assert parse_retry_after(*header) == timedelta(seconds=40)


def _set_back(ledger: Ledger, key: str, by: timedelta) -> None:
    """What a slot looks like after the server's clock was set back: it ends that much later."""
    ends: Any = ledger.redis.get(key)
    left: Any = ledger.redis.pttl(key)
    late = int(by.total_seconds() * 1000)
    ledger.redis.set(key, int(ends) + late, px=left + late)


def test_a_sweep_follows_at_once_after_the_servers_clock_was_set_back(ledger: Ledger) -> None:
    """Its slot would otherwise last as much longer."""
    every = timedelta(seconds=30)
    assert ledger.wakeups.take_sweep(every)
    assert not ledger.wakeups.take_sweep(every)

    _set_back(ledger, ledger.keys.slot, timedelta(hours=1))

    assert ledger.wakeups.take_sweep(every)
    assert not ledger.wakeups.take_sweep(every)


def test_the_budget_is_not_spent_by_calls_of_a_time_to_come(ledger: Ledger) -> None:
    """After the server's clock was set back, the calls of the last minute count as made now."""
    budget = Budget(ledger.redis, ledger.keys.prefix, "client@origin", per_second=10, per_minute=10, share=1)
    budget.take()
    calls: Any = ledger.redis.zrange(ledger.keys.budget("client@origin"), 0, -1, withscores=True)
    [(call, at)] = calls
    ledger.redis.zadd(ledger.keys.budget("client@origin"), {call: at + 3_600_000})

    assert budget.room(timedelta(seconds=61)) > 0


def test_a_late_wake_up_is_known_by_the_servers_clock(ledger: Ledger) -> None:
    headers = ledger.wakeups.valid_for(timedelta(milliseconds=50))
    assert not ledger.wakeups.is_late(headers)
    wait_until(lambda: ledger.wakeups.is_late(headers), 5, 0.02, what="the end of the wake-up's time")
    assert not ledger.wakeups.is_late({})


def test_a_sweep_ahead_of_the_servers_clock_is_called_wrong(ledger: Ledger, redis_url: str) -> None:
    ledger.promote(1)
    ledger.redis.set(ledger.keys.swept, to_ms(ledger.now() + timedelta(minutes=59, seconds=59.5)))
    status = read_status(ledger.redis, load_settings(redis_url=redis_url, key_prefix=ledger.keys.prefix))

    assert status.sweep_is_late
    assert status.last_sweep == "59 min 59 s ahead of the server's clock, which was set back"
