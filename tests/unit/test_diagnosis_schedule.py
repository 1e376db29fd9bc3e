"""When to look again: at doubling intervals, within bounds, sooner before the start (contract §1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import DAY, HOUR, MINUTE, NOW, POLICY, SECOND, TICK
from worker.diagnosis.model import Cause, Certainty, Diagnosis, LastResort, Policy, Remedy, Rung, State
from worker.diagnosis.schedule import (
    Pause,
    first_look,
    is_due,
    next_interval,
    next_look,
    next_pause,
    retry_look,
)

PENDING = Diagnosis(State.PENDING, Cause.GENERATING, Certainty.CERTAIN, ("It waits.",), Remedy.WAIT)

intervals = st.timedeltas(timedelta(0), 1000 * DAY)
starts = st.one_of(st.none(), st.timedeltas(-9000 * DAY, 9000 * DAY).map(lambda left: NOW + left))
policies = st.tuples(st.timedeltas(SECOND, DAY), st.timedeltas(timedelta(0), 30 * DAY)).map(
    lambda bounds: replace(POLICY, recheck_min=bounds[0], recheck_max=bounds[0] + bounds[1])
)


def test_first_look() -> None:
    """The first look comes RECHECK_MIN after the event was tracked."""
    assert first_look(NOW, POLICY) == NOW + 30 * SECOND


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        pytest.param(None, 30 * SECOND, id="none yet"),
        pytest.param(timedelta(0), 30 * SECOND, id="nothing"),
        pytest.param(10 * SECOND, 30 * SECOND, id="below the lower bound"),
        pytest.param(30 * SECOND, MINUTE, id="the lower bound"),
        pytest.param(MINUTE, 2 * MINUTE, id="doubles"),
        pytest.param(3 * HOUR - SECOND, 6 * HOUR - 2 * SECOND, id="just below the upper bound"),
        pytest.param(3 * HOUR, 6 * HOUR, id="to the upper bound"),
        pytest.param(3 * HOUR + SECOND, 6 * HOUR, id="not beyond the upper bound"),
        pytest.param(6 * HOUR, 6 * HOUR, id="stays there"),
        pytest.param(48 * HOUR, 6 * HOUR, id="from a longer policy"),
    ],
)
def test_intervals_double(previous: timedelta | None, expected: timedelta) -> None:
    """Each interval is twice the last, within RECHECK_MIN and RECHECK_MAX."""
    assert next_interval(previous, POLICY) == expected


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        pytest.param(None, Pause(450 * SECOND, 240 * SECOND), id="30 + 60 + 120 + 240 s"),
        pytest.param(MINUTE, Pause(30 * MINUTE, 16 * MINUTE), id="2 + 4 + 8 + 16 min"),
        pytest.param(HOUR, Pause(6 * HOUR, 6 * HOUR), id="never beyond the upper bound"),
    ],
)
def test_events_with_notifications_are_polled_a_quarter_as_often(
    previous: timedelta | None, expected: Pause
) -> None:
    """The pause spans the next four intervals, not one, and the schedule continues from the last of them."""
    assert next_pause(previous, POLICY, notices_arrive=True) == expected
    one = next_interval(previous, POLICY)
    assert next_pause(previous, POLICY, notices_arrive=False) == Pause(one, one)


@pytest.mark.parametrize(
    ("interval", "left", "expected"),
    [
        pytest.param(MINUTE, 10 * DAY, MINUTE, id="far away: the interval"),
        pytest.param(6 * HOUR, None, 6 * HOUR, id="no start known: the interval"),
        pytest.param(6 * HOUR, 24 * HOUR, 6 * HOUR, id="exactly a quarter"),
        pytest.param(6 * HOUR, 20 * HOUR, 5 * HOUR, id="a quarter of the time left"),
        pytest.param(6 * HOUR, 2 * MINUTE, 30 * SECOND, id="a quarter, at the lower bound"),
        pytest.param(6 * HOUR, MINUTE, 30 * SECOND, id="never sooner than the lower bound"),
        pytest.param(6 * HOUR, TICK, 30 * SECOND, id="about to start"),
        pytest.param(MINUTE, timedelta(0), MINUTE, id="starts now: the interval"),
        pytest.param(MINUTE, -DAY, MINUTE, id="past, with something left to do"),
        pytest.param(timedelta(0), 10 * DAY, 30 * SECOND, id="interval below the bounds"),
        pytest.param(9 * HOUR, 10 * DAY, 6 * HOUR, id="interval beyond the bounds"),
    ],
)
def test_next_look(interval: timedelta, left: timedelta | None, expected: timedelta) -> None:
    """A pending event's next look is one interval away, or a quarter of the remaining time if sooner."""
    start = None if left is None else NOW + left

    assert next_look(PENDING, interval, start, NOW, POLICY) == NOW + expected


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        pytest.param(HOUR, HOUR, id="when it is due"),
        pytest.param(6 * HOUR + TICK, 6 * HOUR, id="due later than the interval"),
        pytest.param(TICK, 30 * SECOND, id="never sooner than the lower bound"),
        pytest.param(timedelta(0), 6 * HOUR, id="due now: the interval"),
        pytest.param(-MINUTE, 6 * HOUR, id="was due: the interval"),
    ],
)
def test_a_look_comes_when_the_last_resort_is_due(due: timedelta, expected: timedelta) -> None:
    """Once it was used, the interval counts again."""
    planned = replace(PENDING, last_resort=LastResort(Rung.EXPLICIT, "explicit", NOW + due))

    assert next_look(planned, 6 * HOUR, NOW + 10 * DAY, NOW, POLICY) == NOW + expected


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        pytest.param(State.ASSIGNED, None, id="assigned"),
        pytest.param(State.CLOSED, Cause.EVENT_IN_PAST, id="past"),
        pytest.param(State.CLOSED, Cause.EVENT_GONE, id="gone"),
        pytest.param(State.PENDING, Cause.ACCOUNT_UNAUTHORIZED, id="account refused"),
    ],
)
def test_no_next_look(state: State, cause: Cause | None) -> None:
    """Settled events and a refused account's events are not looked at again."""
    diagnosis = replace(PENDING, state=state, cause=cause, remedy=Remedy.CLOSE)

    assert next_look(diagnosis, MINUTE, NOW + DAY, NOW, POLICY) is None


@pytest.mark.parametrize("cause", sorted(Cause))
def test_every_cause_that_closes_nothing_is_looked_at_again(cause: Cause) -> None:
    """A pending event is always looked at again, also while its account waits for an access token."""
    diagnosis = replace(PENDING, cause=cause)

    assert next_look(diagnosis, MINUTE, NOW + 10 * DAY, NOW, POLICY) == NOW + MINUTE


@pytest.mark.parametrize(
    ("failures", "left", "expected"),
    [
        pytest.param(0, None, 30 * SECOND, id="none"),
        pytest.param(1, None, MINUTE, id="one"),
        pytest.param(2, None, 2 * MINUTE, id="two"),
        pytest.param(4, None, 8 * MINUTE, id="four"),
        pytest.param(5, None, 10 * MINUTE, id="at most ten minutes"),
        pytest.param(10**9, None, 10 * MINUTE, id="very many"),
        pytest.param(5, 20 * MINUTE, 5 * MINUTE, id="a quarter of the time left"),
        pytest.param(5, MINUTE, 30 * SECOND, id="never below the lower bound"),
        pytest.param(5, timedelta(0), 10 * MINUTE, id="starts now"),
        pytest.param(5, -DAY, 10 * MINUTE, id="past"),
    ],
)
def test_retries(failures: int, left: timedelta | None, expected: timedelta) -> None:
    """Failing looks are repeated at growing intervals, at most ten minutes apart."""
    start = None if left is None else NOW + left

    assert retry_look(failures, start, NOW, POLICY) == NOW + expected


@pytest.mark.parametrize(
    ("away", "interval", "expected"),
    [
        pytest.param(-DAY, None, True, id="long due"),
        pytest.param(timedelta(0), None, True, id="due now"),
        pytest.param(TICK, None, False, id="first look not yet"),
        pytest.param(15 * MINUTE, HOUR, True, id="within the last quarter"),
        pytest.param(15 * MINUTE + TICK, HOUR, False, id="before the last quarter"),
    ],
)
def test_due(away: timedelta, interval: timedelta | None, expected: bool) -> None:
    """A look takes along events whose own look is due within the last quarter of its interval."""
    assert is_due(NOW + away, interval, NOW) is expected


@given(st.none() | intervals, st.integers(0, 10**6), starts, policies)
def test_everything_is_bounded(
    previous: timedelta | None, failures: int, start: datetime | None, policy: Policy
) -> None:
    """Within the bounds, whatever came before, and no further than a quarter of the remaining time."""
    interval = next_interval(previous, policy)
    look = next_look(PENDING, previous or timedelta(0), start, NOW, policy)
    retry = retry_look(failures, start, NOW, policy)

    assert look is not None
    for away in (interval, look - NOW, retry - NOW):
        assert timedelta(0) < policy.recheck_min <= away <= policy.recheck_max
    assert retry <= NOW + max(10 * MINUTE, policy.recheck_min)
    if start is not None and start > NOW:
        assert max(look, retry) - NOW <= max((start - NOW) / 4, policy.recheck_min)
