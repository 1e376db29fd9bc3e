"""The contents of the board's first page: ids, times and counts, but nothing that people wrote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from config.settings import Settings
from worker.diagnosis.cause_table import label
from worker.diagnosis.model import Cause
from worker.ledger.figures import read_backlog
from worker.ledger.ledger import Ledger
from worker.status.snapshot import Status, read_status
from worker.status.trouble import Trouble, troubles
from worker.web.board.outcomes import WORDS
from worker.web.board.plot import Plot, Point, hourly, plot
from worker.wording import spoken

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
class OutcomeRow:
    """One outcome; the event's ids are None if it is about a profile or an account."""

    at: datetime
    type: str
    text: str
    cause: str | None
    #: None if it is about several accounts.
    sub: str | None
    calendar_id: str | None
    event_id: str | None
    #: The id of the incident that it is about, if it is about one.
    incident: str | None


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
    outcomes: tuple[OutcomeRow, ...]
    #: How many incidents are open.
    incidents: int

    @property
    def oldest(self) -> str | None:
        """How long the oldest pending event has been tracked."""
        seconds = self.status.oldest_pending_seconds
        return None if seconds is None else spoken(seconds)


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
        outcomes=_outcomes(ledger),
        incidents=ledger.incidents.count(),
    )


def _outcomes(ledger: Ledger) -> tuple[OutcomeRow, ...]:
    return tuple(
        OutcomeRow(
            at=datetime.fromisoformat(outcome["at"]),
            type=outcome["type"],
            text=WORDS.get(outcome["type"], outcome["type"]),
            cause=outcome["cause"],
            sub=outcome["sub"],
            calendar_id=outcome["calendar_id"],
            event_id=outcome["event_id"],
            incident=outcome["detail"].get("incident"),
        )
        for outcome in ledger.outcomes.newest(RECENT)
    )
