"""The tables of causes in the documents match the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.decisions import SITUATIONS, TABLES, decisions
from worker.diagnosis.model import Cause


@pytest.mark.parametrize(("document", "name", "table"), TABLES, ids=[name for _, name, _ in TABLES])
def test_the_tables_of_causes_are_made_from_the_code(
    document: Path, name: str, table: Callable[[], str]
) -> None:
    """To write them: python -m tests.contract.decisions"""
    assert f"<!-- {name} -->\n\n{table()}\n<!-- /{name} -->" in document.read_text(encoding="utf-8")


def test_the_decision_table_reaches_every_cause() -> None:
    """No cause is missing, and no two situations have the same wording."""
    assert {cause.value for cause in Cause} <= set(decisions().split("`")[1::2])
    assert len({situation.words for situation in SITUATIONS}) == len(SITUATIONS)
