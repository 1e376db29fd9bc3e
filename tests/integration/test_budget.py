"""The budget of Cronofy's limits: one for the whole fleet, on Redis's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from worker.cronofy.budget import Budget, Spending
from worker.cronofy.errors import OutOfBudget, ProbeTurn

ORIGIN = "https://api.example"
Make = Callable[..., Budget]


@pytest.fixture
def make(redis: Redis, prefix: str) -> Make:
    """Creates a budget as one process of the fleet has it, with these limits, all ours."""

    def budget(origin: str = ORIGIN, **options: Any) -> Budget:
        defaults = {"per_second": 1000, "per_minute": 10_000, "share": 1.0, "jitter": lambda: 0.0}
        return Budget(redis, prefix, origin, **{**defaults, **options})

    return budget


def refusal(budget: Budget, cost: int = 1) -> OutOfBudget:
    """The error of a refused take."""
    with pytest.raises(OutOfBudget) as caught:
        budget.take(cost)
    return caught.value


def wait_of(budget: Budget, cost: int = 1) -> float:
    """The wait in seconds that a refused take gives."""
    wait = refusal(budget, cost).retry_after
    assert wait is not None
    return wait.total_seconds()


def pause_length(budget: Budget) -> float:
    """Pause, and return for how long calls are refused from now."""
    budget.pause(None)
    return wait_of(budget)


def resume(redis: Redis, prefix: str) -> None:
    """End a pause."""
    redis.delete(f"{prefix}:budget:{ORIGIN}:paused")


def test_a_minutes_share_is_not_exceeded(make: Make) -> None:
    """Thirty of forty a minute, whatever the second allows; the wait is the rest of the minute."""
    one, other = (make(per_minute=40, share=0.75) for _ in range(2))
    for _ in range(15):
        one.take()
        other.take()
    assert 55 < wait_of(one) <= 61.1


def test_the_wait_is_when_it_can_be_granted(make: Make) -> None:
    """Whoever waits that long gets through at once."""
    budget = make(per_second=4)
    budget.take(3)
    wait = wait_of(budget, 2)
    assert 0 < wait <= 1.5
    time.sleep(wait + 0.005)
    budget.take(2)


def test_a_cost_counts_as_that_many_calls(make: Make) -> None:
    """A batch spends its number of entries; one that does not fit spends nothing."""
    budget = make(per_second=10)
    budget.take(7)
    assert "used up" in str(refusal(budget, 4))
    budget.take(3)
    refusal(budget)


@pytest.mark.parametrize(
    ("per_second", "per_minute", "share", "largest"),
    [
        pytest.param(50, 500, 0.8, 40, id="defaults"),
        pytest.param(50, 20, 0.5, 10, id="the minute binds"),
        pytest.param(1, 1, 0.1, 1, id="never less than one"),
    ],
)
def test_the_largest_cost_can_be_granted(
    make: Make, per_second: int, per_minute: int, share: float, largest: int
) -> None:
    """A caller that stays within it is not refused forever."""
    budget = make(per_second=per_second, per_minute=per_minute, share=share)
    assert budget.largest == largest
    budget.take(largest)


def test_origins_do_not_share_a_budget(make: Make) -> None:
    """Each data centre has its own."""
    one, other = make(per_second=1), make("https://api-de.example", per_second=1)
    one.take()
    one.pause(timedelta(seconds=30))
    other.take()


@pytest.mark.parametrize(
    ("answers", "length"),
    [
        pytest.param([7.0], 7, id="as given"),
        pytest.param([0.3], 1, id="a second at least"),
        pytest.param([18_000.0], 120, id="two minutes at most"),
        pytest.param([5.0, 20.0], 20, id="longer"),
        pytest.param([20.0, 5.0], 20, id="shorter"),
        pytest.param([0, 20.0], 20, id="given after not given"),
        pytest.param([20.0, 0], 20, id="not given after given"),
    ],
)
def test_a_pause_lasts_for_the_longest_retry_after(make: Make, answers: list[float], length: float) -> None:
    """Every process of the fleet is refused for that long, within bounds; no later answer shortens it."""
    for seconds in answers:
        make().pause(timedelta(seconds=seconds) if seconds else None)
    assert length - 0.2 <= wait_of(make()) <= length
    assert "pause" in str(refusal(make()))


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_pauses_without_retry_after_double(make: Make, redis: Redis, prefix: str, jitter: float) -> None:
    """Two seconds, then twice as long each time, a minute at most, and up to a quarter longer out of step."""
    budget, lengths = make(jitter=lambda: jitter), []
    for _ in range(7):
        lengths.append(pause_length(budget))
        resume(redis, prefix)
    longer = 1 + jitter / 4
    assert lengths == pytest.approx([longer * seconds for seconds in (2, 4, 8, 16, 32, 60, 60)], abs=0.2)


def test_simultaneous_429s_make_one_pause(make: Make, redis: Redis, prefix: str) -> None:
    """Sixteen concurrent calls get a 429: they neither prolong nor double the pause."""
    budget = make()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: budget.pause(None), range(16)))
    assert wait_of(budget) <= 2
    resume(redis, prefix)
    assert pause_length(budget) == pytest.approx(4, abs=0.2)


def test_a_refused_client_stops_all_but_a_probe_a_minute(make: Make, redis: Redis, prefix: str) -> None:
    """Nothing is granted; once a minute one caller may probe by a refresh, unless there is a pause."""
    budget, other = make(), make()
    budget.refuse_client()
    assert 55 < wait_of(other) <= 60
    assert "client id or secret" in str(refusal(other))

    redis.delete(f"{prefix}:budget:{ORIGIN}:probe")
    with pytest.raises(ProbeTurn):
        budget.take()
    for each in (budget, other):
        refusal(each)
    other.take(probing=True)
    other.pause(timedelta(seconds=30))
    with pytest.raises(OutOfBudget, match="pause"):
        budget.take(probing=True)


def test_an_accepted_client_resumes_all_calls(make: Make) -> None:
    """Whoever finds out tells everyone; doing so twice is harmless."""
    budget, other = make(), make()
    for act in (budget.refuse_client, other.accept_client):
        act()
        act()
    budget.take()


def test_a_budget_leaves_nothing_behind(make: Make, redis: Redis, prefix: str) -> None:
    """Spending and pauses expire; only the fact that the budget was used remains."""
    budget = make()
    Spending(budget, 3, urgent=True).take()
    budget.pause(None)

    keys = list(redis.scan_iter(match=f"{prefix}:budget:*"))

    assert redis.smembers(f"{prefix}:budgets") == {min(keys, key=len)}
    assert len(keys) == 5
    assert all(0 < int(redis.pttl(key)) <= 120_000 for key in keys)
