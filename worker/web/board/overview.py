"""The contents of the board's first page: ids, times and counts, but nothing that people wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from config.settings import Settings
from worker.diagnosis.cause_table import label
from worker.diagnosis.model import Cause
from worker.ledger.backlog import read_backlog
from worker.ledger.ledger import Ledger
from worker.status.snapshot import Status, read_status
from worker.status.trouble import Trouble, troubles
from worker.web.board.plot import Plot, Point, hourly, plot

#: How many outcomes are shown.
RECENT = 20


@dataclass(frozen=True, slots=True)
class CauseRow:
    """Pending events of one cause, now and over the last day."""

    #: The contract's name; empty for events not looked at yet.
    word: str
    text: str
    now: int
    plot: Plot


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page."""

    status: Status
    #: What needs attention, the worst first.
    attention: tuple[Trouble, ...]
    backlog: Plot
    #: The backlog by the hour, newest first.
    hours: tuple[Point, ...]
    #: Causes seen in the last day, the most frequent first, and those not seen.
    causes: tuple[CauseRow, ...]
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
            rows.append(CauseRow(cause.value if cause else "", label(cause), present, drawn))
        else:
            absent.append(cause.value if cause else label(None))
    return Overview(
        status=status,
        attention=tuple(troubles(status)),
        backlog=plot(total, now),
        hours=tuple(hourly(total, now)),
        causes=tuple(sorted(rows, key=lambda row: (-row.now, -row.plot.highest))),
        absent=tuple(absent),
        outcomes=tuple(
            {**each, "at": datetime.fromisoformat(each["at"])} for each in ledger.outcomes.newest(RECENT)
        ),
        incidents=ledger.incidents.count(),
    )
