"""What tells of a fault: six places, in the same words, within a minute, and blaming nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.documents import firsts, table
from tests.faults.clocks import LIBRARY
from tests.faults.told import FAULTS, NEEDS_LIBRARY, Stage, row, staged, told


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet that every fault finds well again."""
    with staged(tmp_path_factory.mktemp("told")) as running:
        yield running


@pytest.fixture
def only_long(long: bool) -> None:
    """Each takes half a minute."""
    if not long:
        pytest.skip("they belong to the long form")


@pytest.mark.parametrize("name", FAULTS)
def test_every_place_names_the_fault_in_the_same_words_within_a_minute(
    only_long: None, request: pytest.FixtureRequest, name: str
) -> None:
    """And nothing that is well looks broken, then or afterwards."""
    if name == NEEDS_LIBRARY and not LIBRARY.exists():
        pytest.skip("needs faketime")

    told(request.getfixturevalue("stage"), FAULTS[name])


@pytest.mark.parametrize("name", FAULTS)
def test_the_manual_says_what_the_places_say(name: str) -> None:
    """To write the table: python -m tests.faults.told"""
    [documented] = [line for line in table("docs/watching.md", "fault") if line[0] == name]

    assert tuple(documented[:-1]) == row(name, 0)[:-1]


def test_the_lines_of_the_log_exist() -> None:
    """They are listed where an operator looks them up."""
    lines = set(firsts(table("docs/watching.md", "event")))

    assert [fault.log for fault in FAULTS.values() if fault.log not in lines] == []
