"""The decision table of the documentation is what the diagnosis decides."""

from __future__ import annotations

from tests.contract.decisions import DOCUMENT, NAME, SITUATIONS, table
from tests.contract.documents import firsts
from tests.contract.documents import table as table_of
from worker.diagnosis.model import Cause


def test_the_table_of_causes_is_made_from_the_code() -> None:
    """To write it anew: python -m tests.contract.decisions"""
    written = DOCUMENT.read_text(encoding="utf-8")

    assert f"<!-- {NAME} -->\n\n{table()}\n<!-- /{NAME} -->" in written


def test_the_table_of_causes_shows_each_of_them() -> None:
    """No cause is left out, and every situation is told in other words."""
    assert {cause.value for cause in Cause} <= set(table().split("`")[1::2])
    assert len({situation.words for situation in SITUATIONS}) == len(SITUATIONS)


def test_what_each_cause_asks_of_a_person_is_written_down() -> None:
    """One row for each, in the order of the contract."""
    assert firsts(table_of("docs/causes.md", "cause")) == [cause.value for cause in Cause]
