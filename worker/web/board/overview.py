"""The contents of the board's first page: ids, times and counts, but nothing that people wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from config.settings import Settings
from worker.diagnosis.cause_table import UNSEEN
from worker.diagnosis.model import Cause
from worker.ledger.backlog import read_backlog
from worker.ledger.ledger import Ledger
from worker.status.snapshot import Status, read_status
from worker.status.trouble import Trouble, troubles
from worker.web.board.plot import Plot, Point, hourly, plot

#: How many outcomes are shown.
RECENT = 20


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page."""

    status: Status
    #: What needs attention, the worst first.
    attention: tuple[Trouble, ...]
    backlog: Plot
    #: The backlog by the hour, newest first.
    hours: tuple[Point, ...]
    #: Causes seen in the last day (None: not looked at yet), how many events have them now, the most first.
    causes: tuple[tuple[Cause | None, int, Plot], ...]
    #: Those that were not seen.
    absent: tuple[str, ...]
    #: Contract JSON, but for the time.
    outcomes: tuple[Mapping[str, Any], ...]
    #: How many incidents are open.
    incidents: int


def read_overview(ledger: Ledger, settings: Settings) -> Overview:
    """Read the page's contents, a few keys however much is tracked; RedisError if the ledger is away."""
    status = read_status(ledger.redis, settings)
    samples = read_backlog(ledger.redis, ledger.keys)
    now = status.at
    total = [*(Point(s.at, s.pending) for s in samples), Point(now, status.pending)]
    rows, absent = [], []
    for cause in (None, *Cause):
        present = status.unseen if cause is None else status.causes[cause]
        points = [*(Point(s.at, s.causes.get(cause, 0)) for s in samples), Point(now, present)]
        drawn = plot(points, now)
        if drawn.highest:
            rows.append((cause, present, drawn))
        else:
            absent.append(cause.value if cause else UNSEEN)
    return Overview(
        status=status,
        attention=tuple(troubles(status)),
        backlog=plot(total, now),
        hours=tuple(hourly(total, now)),
        causes=tuple(sorted(rows, key=lambda row: (-row[1], -row[2].highest))),
        absent=tuple(absent),
        outcomes=tuple(
            {**each, "at": datetime.fromisoformat(each["at"])} for each in ledger.outcomes.newest(RECENT)
        ),
        incidents=ledger.incidents.count(),
    )
