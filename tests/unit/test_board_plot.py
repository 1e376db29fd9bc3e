"""The board's plots: where points are, where a line has a gap, and the same as a table."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.unit.builders import DAY, HOUR, MINUTE, NOW
from worker.web.board.plot import Point, hourly, plot, round_up


def ago(span: timedelta, count: int) -> Point:
    """A count this long ago."""
    return Point(NOW - span, count)


@pytest.mark.parametrize(
    ("count", "top"),
    [(0, 1), (1, 1), (2, 2), (3, 5), (6, 10), (10, 10), (11, 20), (51, 100), (2001, 5000)],
    ids=str,
)
def test_the_top_of_the_axis_reads_well(count: int, top: int) -> None:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    assert round_up(count) == top


def test_a_day_spans_the_plot() -> None:
    """A day ago is at the left, now at the right, zero at the bottom, the maximum at the top."""
    drawn = plot([ago(DAY, 0), ago(DAY - 5 * MINUTE, 10)], NOW)

    assert drawn.line == "M0.0 100.0L3.5 0.0"
    assert drawn.area == "M0.0 100.0L3.5 0.0L3.5 100L0.0 100Z"
    assert (drawn.top, drawn.lowest, drawn.highest) == (10, 0, 10)


def test_where_no_sample_was_taken_the_line_has_a_gap() -> None:
    """Times without a sweep show nothing; a lone point is a dash."""
    drawn = plot([ago(3 * HOUR, 1), ago(3 * HOUR - 5 * MINUTE, 1), ago(HOUR, 1)], NOW)

    assert drawn.line.count("M") == 2
    assert drawn.line.endswith("M958.3 0.0L960.3 0.0")


def test_an_empty_history_is_a_plot_too() -> None:
    """Before the first sample."""
    drawn = plot([], NOW)

    assert (drawn.line, drawn.area, drawn.top, drawn.highest) == ("", "", 1, 0)


def test_the_table_has_the_newest_point_of_each_hour() -> None:
    """The newest hour first."""
    points = [ago(90 * MINUTE, 1), ago(70 * MINUTE, 2), ago(10 * MINUTE, 3), ago(timedelta(0), 4)]

    assert hourly(points, NOW) == [points[3], points[1]]
