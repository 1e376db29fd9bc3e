"""Durations in settings."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.durations import parse_duration

GOOD: dict[timedelta, list[object]] = {
    timedelta(0): ["0"],
    timedelta(seconds=0.25): ["PT0.25S"],
    timedelta(seconds=0.5): ["0.5"],
    timedelta(seconds=1.5): [1.5],
    timedelta(seconds=30): [30],
    timedelta(seconds=90): ["90", " 90 ", "PT1M30S", timedelta(seconds=90)],
    timedelta(seconds=100): ["1e2"],
    timedelta(minutes=5): ["PT5M", "pt5m"],
    timedelta(days=1.5): ["P1DT12H"],
    timedelta(weeks=2): ["P2W"],
    timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5): ["P1W2DT3H4M5S"],
}


@pytest.mark.parametrize(
    ("value", "duration"), [pytest.param(v, d, id=repr(v)) for d, values in GOOD.items() for v in values]
)
def test_a_duration_is_seconds_or_iso_8601(value: object, duration: timedelta) -> None:
    """Numbers are seconds; weeks, days, hours, minutes and seconds may be written out."""
    assert parse_duration(value) == duration


BAD: list[object] = [
    *("", " ", "P", "PT", "P1DT", "P1Y", "P1M", "P1H", "PT1D", "PT5", "PTS", "PT1.5M", "P-1D", "5m", "1:30"),
    *("soon", "nan", "inf", "-inf", "1e400", "1e30", "P999999999999D", f"PT{'9' * 400}S", "-1", "-0.001"),
    *(None, [], timedelta(seconds=-1)),
]


@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:20])
def test_an_invalid_duration_is_refused_with_the_right_format(value: object) -> None:
    """The sentence begins with "must be a duration", and never contains the value."""
    with pytest.raises(ValueError, match=r"^must be a duration") as caught:
        parse_duration(value)

    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(alphabet="PTWDHMSptwdhms0123456789.+-e ", max_size=12) | st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    """No other exception, and no duration is negative."""
    try:
        duration = parse_duration(text)
    except ValueError:
        return

    assert duration >= timedelta(0)
