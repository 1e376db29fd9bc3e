"""The tables of host faults and of attempts match the tests that they name."""

from __future__ import annotations

import pytest

from tests.contract.documents import text_of
from tests.faults import attempts, hosts

TESTS = [test for row in hosts.ROWS for test in row.tests]
TESTS += [test for row in attempts.ROWS for test in row.tests]


@pytest.mark.parametrize("test", TESTS)
def test_what_shows_a_row_exists(test: str) -> None:
    """By its file and its name."""
    file, _, name = test.partition("::")

    assert f"\ndef {name}(" in text_of(file)


def test_a_row_says_what_comes_of_its_fault_only_if_its_tests_passed() -> None:
    """All of them; one that failed, was skipped or did not run shows nothing."""
    passed = {test: "passed" for row in hosts.ROWS for test in row.tests}
    [first] = hosts.ROWS[0].tests[:1]

    assert all(row["now"] for row in hosts.report(passed).rows)
    assert not hosts.report(passed | {first: "failed"}).rows[0]["now"]
    assert not any(row["now"] for row in hosts.report({}).rows)
