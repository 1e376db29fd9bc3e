"""The tables of causes in the documents match the code."""

from __future__ import annotations

from tests.contract.decisions import CAUSES, SITUATIONS, decisions
from tests.contract.documents import tables
from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.model import Cause

TEXT = CAUSES.read_text(encoding="utf-8")


def test_the_decision_table_is_made_from_the_code() -> None:
    """To write it: python -m tests.contract.decisions"""
    assert f"<!-- decisions -->\n\n{decisions()}\n<!-- /decisions -->" in TEXT


def test_each_cause_has_its_rows() -> None:
    """What the program says, too, is as it says it."""
    [wrong, people] = [rows[1:] for rows in tables(TEXT) if rows[0][0] == "cause"]

    assert [row[0] for row in wrong] == [f"`{cause}`" for cause in Cause]
    assert [[row[0], row[1], row[3]] for row in people] == [
        [f"`{cause}`", str(row.number), row.perhaps] for cause, row in TABLE.items()
    ]


def test_the_decision_table_reaches_every_cause() -> None:
    """No cause is missing, and no two situations have the same wording."""
    assert {cause.value for cause in Cause} <= set(decisions().split("`")[1::2])
    assert len({situation.words for situation in SITUATIONS}) == len(SITUATIONS)
