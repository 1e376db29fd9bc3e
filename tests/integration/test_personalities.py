"""What the reconciler does, whichever answer Cronofy gives where its documentation is silent."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.personality import TRAITS
from sandbox.server import RunningSandbox
from tests.contract.documents import code, table
from tests.integration.personalities import CASES, TRIALS, played
from tests.integration.world import Begin


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{name}={value}" for name, value in CASES])
def test_outcome_is_the_one_in_the_manual(
    begin: Begin, running: RunningSandbox, name: str, value: Any
) -> None:
    """To write the table: python -m tests.integration.personalities"""
    [outcome] = [
        row[3]
        for row in table("docs/sandbox.md", "with the trait")
        if code(row[0]) == [name] and str(value) in code(row[1])
    ]
    assert played(begin, running, name, value) == outcome


def test_every_trait_has_a_trial() -> None:
    """No trait is left out."""
    assert list(TRIALS) == list(TRAITS)
