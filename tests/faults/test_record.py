"""The table of faults: what tests add to it, and where it is written."""

from __future__ import annotations

from tests.faults.record import Row, Run, recorded


def test_rows_of_one_fault_are_summed() -> None:
    """A parametrised test makes one row; rows follow the order of the tests, whichever ended first."""
    run = Run(long=False, seed=7, rows={})

    run.take([recorded("a kill", Row(injected=3, events=5, doubled=1, place=("b.py", 2)))])
    run.take([recorded("a reset", Row(injected=1, events=2, mails=1, place=("b.py", 7)))])
    run.take([recorded("a reset", Row(injected=1, events=2, lost=1, place=("a.py", 9))), ("another's", 1)])

    report = run.report()
    assert [[row[heading] for heading in report.headings] for row in report.rows] == [
        ["a reset", 2, 4, 1, 0, 1],
        ["a kill", 3, 5, 0, 1, 0],
    ]
    assert dict(report.settings) == {"form": "quick", "seed": 7}
