"""The board's plots: from samples to SVG paths. Pure.

A plot is a box of 1000 by 100 that the page stretches; its labels are text beside it, so they keep their size
on a small screen. Where no sample was taken (no sweep ran), the line has a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.ledger.backlog import EVERY, KEPT

WIDTH, HEIGHT = 1000, 100
#: Samples further apart leave a gap in the line.
GAP = EVERY * 3


@dataclass(frozen=True, slots=True)
class Point:
    """A count at a moment."""

    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Plot:
    """A line, the area below it, and its figures."""

    line: str
    area: str
    #: The count at the top edge.
    top: int
    lowest: int
    highest: int


def plot(points: Sequence[Point], now: datetime) -> Plot:
    """Draw the points of the last day, the newest at the right edge."""
    counts = [point.count for point in points] or [0]
    top = round_up(max(counts))
    runs = [[(_x(point.at, now), _y(point.count, top)) for point in run] for run in _runs(points)]
    return Plot(
        line=" ".join(_line(run) for run in runs),
        area=" ".join(f"{_line(run)}L{run[-1][0]} {HEIGHT}L{run[0][0]} {HEIGHT}Z" for run in runs),
        top=top,
        lowest=min(counts),
        highest=max(counts),
    )


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of two parts, from left to right, the lower part at the foot."""

    lower: str
    upper: str
    #: The count at the top edge.
    top: int


def bars(counts: Sequence[tuple[int, int]]) -> Bars:
    """Draw a bar for each pair: how many the lower and the upper part stand for."""
    top = round_up(max((sum(pair) for pair in counts), default=0))
    wide, lower, upper = WIDTH / max(1, len(counts)), "", ""
    for n, (foot, rest) in enumerate(counts):
        left, right = round((n + 0.1) * wide, 1), round((n + 0.9) * wide, 1)
        base, middle, head = (_y(count, top) for count in (0, foot, foot + rest))
        lower += f"M{left} {base}V{middle}H{right}V{base}Z" if foot else ""
        upper += f"M{left} {middle}V{head}H{right}V{middle}Z" if rest else ""
    return Bars(lower, upper, top)


def hourly(points: Sequence[Point], now: datetime) -> list[Point]:
    """The plot as a table: the last point of each hour, the newest hour first."""
    hours = {int((now - point.at) / timedelta(hours=1)): point for point in points}
    return [hours[hour] for hour in sorted(hours)]


def round_up(count: int) -> int:
    """The next round count for the top of an axis: 1, 2, 5, 10, 20, 50, …"""
    size = 1
    while True:
        for step in (1, 2, 5):
            if count <= step * size:
                return step * size
        size *= 10


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    runs: list[list[Point]] = []
    for point in points:
        if runs and point.at - runs[-1][-1].at <= GAP:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _line(run: Sequence[tuple[float, float]]) -> str:
    # A lone point becomes a short dash.
    run = run if len(run) > 1 else [run[0], (run[0][0] + 2, run[0][1])]
    return "M" + "L".join(f"{x} {y}" for x, y in run)


def _x(at: datetime, now: datetime) -> float:
    return round(WIDTH * (1 - min(max((now - at) / KEPT, 0), 1)), 1)


def _y(count: int, top: int) -> float:
    return round(HEIGHT * (1 - count / top), 1)
