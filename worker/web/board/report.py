"""The board's report: how the meetings of some days began, with plots."""

from __future__ import annotations

from datetime import timedelta
from importlib.resources import files

from starlette.responses import HTMLResponse

from worker.ledger.ledger import Ledger
from worker.ledger.tallies import Link
from worker.report.summary import Report, last_days, links_of, percent, read_report, sentences
from worker.report.table import parts
from worker.web.board.page import render
from worker.web.board.plot import bars

#: The spans that the page offers, in days.
SPANS = (7, 30, 90, 365)


def read_page(ledger: Ledger, days: str) -> HTMLResponse:
    """The page about the last `days`; a number that is not offered counts as 30."""
    span = int(days) if days.isdecimal() and int(days) in SPANS else 30
    first, last = last_days(ledger.now(), timedelta(days=span))
    return HTMLResponse(report_page(read_report(ledger.redis, ledger.keys, first, last), span=span))


def report_page(report: Report, *, alone: bool = False, span: int = 0) -> str:
    """The report as HTML; `alone`, it needs nothing else, and can be kept or sent."""
    style = (files("worker.web.board") / "static/board.css").read_text() if alone else ""
    days = [(day, links_of([day])) for day in report.days]
    return render(
        "report.html",
        layout="alone.html" if alone else "base.html",
        style=style,
        report=report,
        sentences=sentences(report),
        share=None if report.share is None else percent(report.share),
        parts=parts(report),
        links=Link,
        days=days,
        meetings=bars([(links[Link.WITHOUT], links[Link.WITH]) for _, links in days]),
        asked=bars([(0, day.deeds["asked"]) for day in report.days]),
        spans=SPANS,
        span=span,
    )
