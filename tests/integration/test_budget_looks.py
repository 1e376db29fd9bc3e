"""How looks share the budget: the urgent reserve, paying ahead, and recovery."""

from __future__ import annotations

import contextlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from tests.integration.test_budget import ORIGIN, Make, make, refusal, resume
from worker.cronofy.budget import Budget, Spending
from worker.cronofy.errors import OutOfBudget

__all__ = ["make"]


def begin_looks(budget: Budget, most: int, *, expected: int = 1, urgent: bool = False) -> list[Spending]:
    """Start looks until one is refused, or `most` are in progress."""
    begun: list[Spending] = []
    for _ in range(most):
        spending = Spending(budget, expected, urgent=urgent)
        try:
            spending.take()
        except OutOfBudget:
            break
        begun.append(spending)
    return begun


def busiest(grants: list[tuple[float, int]], seconds: float) -> int:
    """The highest cost granted within any window of this many seconds."""
    return max(sum(cost for at, cost in grants if first <= at < first + seconds) for first, _ in grants)


@pytest.mark.parametrize("limit", ["per_second", "per_minute"])
def test_a_part_is_kept_for_urgent_looks(make: Make, limit: str) -> None:
    """Of twenty, eighteen are for any look while nothing is urgent, and the rest for urgent ones."""
    budget = make(**{limit: 20})
    assert len(begin_looks(budget, 30)) == 18
    assert len(begin_looks(budget, 2, urgent=True)) == 2
    refusal(budget)


def test_after_an_urgent_look_more_is_kept(make: Make, redis: Redis, prefix: str) -> None:
    """For a minute the whole fifth is kept; then half of it is lent again."""
    budget = make(per_minute=100)
    assert len(begin_looks(budget, 1, urgent=True)) == 1
    assert len(begin_looks(budget, 200)) == 79
    assert len(begin_looks(budget, 200, urgent=True)) == 20
    assert 55_000 < int(redis.pttl(f"{prefix}:budget:{ORIGIN}:urgent")) <= 60_000


def test_a_look_begins_only_if_all_it_expects_can_be_paid(make: Make) -> None:
    """With ninety to spend, thirty looks of three begin; each can finish, whatever urgent ones take."""
    budget = make(per_minute=100)
    begun = begin_looks(budget, 200, expected=3)
    urgent = begin_looks(budget, 200, urgent=True)
    for spending in begun:
        spending.take(2)

    assert (len(begun), len(urgent)) == (30, 10)
    assert begin_looks(budget, 200) == []


def test_what_a_look_did_not_need_is_free_at_its_end(make: Make) -> None:
    """Ten looks that expected nine calls made one each: eighty are free for others."""
    budget = make(per_minute=100)
    for spending in begin_looks(budget, 200, expected=9):
        spending.end()
        spending.end()
    assert len(begin_looks(budget, 200)) == 80


def test_a_call_paid_for_counts_from_when_it_is_made(make: Make, redis: Redis, prefix: str) -> None:
    """It waits while a second is full, where a look that has not begun is refused, and counts from then."""
    budget = make(per_second=2)
    spending = Spending(budget, 2, urgent=False)
    spending.take()
    calls = f"{prefix}:budget:{ORIGIN}"
    paid: Any = redis.zrange(calls, 0, -1)
    for call in paid:
        redis.zincrby(calls, -30_000, call)
    budget.take(2)
    with pytest.raises(OutOfBudget):
        Spending(budget, 1, urgent=False).take()
    begun = time.monotonic()

    spending.take()

    assert 0.5 < time.monotonic() - begun < 2
    assert redis.zcard(calls) == 4
    assert redis.zcount(calls, "-inf", redis.time()[0] * 1000 - 10_000) == 1


def test_a_look_under_way_may_enter_the_reserve(make: Make) -> None:
    """What it could not foresee, such as a token refresh, it gets as long as anything is left."""
    budget = make(per_minute=100)
    first, *_ = begin_looks(budget, 200)
    first.take(10)
    with pytest.raises(OutOfBudget):
        first.take()


def test_a_look_that_expects_more_than_a_second_holds_gets_a_whole_one(make: Make) -> None:
    """It is not refused forever, and does not exceed the limit."""
    budget = make(per_second=2)
    grants: list[tuple[float, int]] = []
    spending = Spending(budget, 6, urgent=False)

    for _ in range(6):
        spending.take()
        grants.append((time.monotonic(), 1))

    assert busiest(grants, 1.0) <= 2


@pytest.mark.parametrize(("per_second", "per_minute"), [(1000, 30), (12, 200)])
def test_looks_at_once_never_exceed_a_limit(
    redis_url: str, prefix: str, per_second: int, per_minute: int
) -> None:
    """Eight threads of looks, routine and urgent, expected and not: both limits are kept."""
    grants: list[tuple[float, int]] = []
    end = time.monotonic() + 3.5

    def work(number: int) -> None:
        dice = random.Random(number)
        with Redis.from_url(redis_url) as redis:
            budget = Budget(redis, prefix, ORIGIN, per_second=per_second, per_minute=per_minute, share=1.0)
            while time.monotonic() < end:
                spending = Spending(budget, dice.randint(1, 4), urgent=dice.random() < 0.3)
                try:
                    for _ in range(dice.randint(1, 5)):
                        cost = dice.choice([1, 1, 1, 3])
                        spending.take(cost)
                        grants.append((time.monotonic(), cost))
                except OutOfBudget:
                    time.sleep(0.01)
                finally:
                    spending.end()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert busiest(grants, 1.0) <= per_second
    assert 25 <= busiest(grants, 60.0) <= per_minute


def test_a_fleet_comes_back_gradually(make: Make, redis: Redis, prefix: str) -> None:
    """After a pause a second allows a tenth, and half a minute later everything."""
    budget = make(per_second=100)
    budget.pause(timedelta(seconds=30))
    resume(redis, prefix)
    resumed = f"{prefix}:budget:{ORIGIN}:resumed"
    seconds, micros = redis.time()
    now = seconds * 1000 + micros // 1000

    held = [_in_a_second(budget, redis, resumed, now - ago) for ago in (0, 15_000, 30_000)]

    assert held == pytest.approx([10, 50, 100], abs=1)


def _in_a_second(budget: Budget, redis: Redis, resumed: str, at: int) -> int:
    """How many calls a second allows when the pause ended at that time and nothing is spent."""
    redis.delete(resumed.removesuffix(":resumed"))
    redis.set(resumed, at)
    granted = 0
    with contextlib.suppress(OutOfBudget):
        while granted < 300:
            budget.take()
            granted += 1
    return granted


@pytest.mark.parametrize(
    ("within", "room"),
    [
        pytest.param(timedelta(seconds=1), 9, id="a second's worth"),
        pytest.param(timedelta(seconds=5), 27, id="what is left of the minute"),
    ],
)
def test_the_room_is_what_routine_looks_can_begin(make: Make, within: timedelta, room: int) -> None:
    """Within the given time, counting both limits and everything paid ahead."""
    budget = make(per_second=10, per_minute=40)
    Spending(budget, 9, urgent=False).take()
    assert budget.room(within) == room


def test_there_is_no_room_in_a_pause_and_room_for_a_probe(make: Make, redis: Redis, prefix: str) -> None:
    """A pause that ends before the next sweep leaves room; refused credentials allow one try a minute."""
    budget = make()
    budget.pause(timedelta(seconds=4))
    assert budget.room(timedelta(seconds=1)) == 0
    assert budget.room(timedelta(seconds=5)) > 0
    resume(redis, prefix)

    budget.refuse_client()
    assert budget.room(timedelta(seconds=5)) == 0
    redis.delete(f"{prefix}:budget:{ORIGIN}:probe")
    assert budget.room(timedelta(seconds=5)) == 1
