"""The report as a terminal shows it: 80 columns, plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.diagnosis.cause_table import label
from worker.diagnosis.model import Cause
from worker.ledger.tallies import Done, Link
from worker.report.summary import DONE, Report, Row, sentences
from worker.wording import provider

#: The parts of the report with a table, each with its heading.
Parts = Sequence[tuple[str, Sequence[tuple[str, Row]]]]


def parts(report: Report) -> Parts:
    """The tables of the report: their headings, and the rows with what people call them."""
    return (
        ("what stood in the way", [(label(Cause(row.name)), row) for row in report.causes]),
        ("what we did", [(DONE[Done(row.name)], row) for row in report.done]),
        ("service", [(provider(row.name), row) for row in report.providers]),
    )


def report_lines(report: Report) -> Iterator[str]:
    """The lines of the report."""
    yield f"Meetings from {report.first} to {report.last} (UTC)"
    yield ""
    yield from sentences(report)
    for heading, rows in parts(report):
        if rows:
            yield ""
            yield f"{heading:<44}{'with link':>12}{'without':>12}{'too late':>12}"
        for text, row in rows:
            numbers = "".join(f"{row.links[link]:>12,}" for link in Link)
            # A long name has its numbers on the next line.
            yield f"{text:<44}{numbers}" if len(text) <= 43 else f"{text}\n{'':<44}{numbers}"
