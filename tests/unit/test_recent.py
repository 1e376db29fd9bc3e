"""What many messages in one moment need of the server."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import count

import pytest

from worker.ledger import connection
from worker.ledger.connection import Recent


def test_it_is_read_once_in_a_moment_with_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """The age is what to add to a time that was read."""
    monkeypatch.setattr(connection, "MOMENT", 60)
    recent = Recent(partial(next, count()))

    taken = [recent.take() for _ in range(9)]

    assert {found for found, _ in taken} == {0}
    ages = [age for _, age in taken]
    assert ages == sorted(ages)
    assert timedelta(0) == ages[0] < ages[-1] < timedelta(minutes=1)


def test_it_is_read_again_after_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a time is never older than a moment."""
    monkeypatch.setattr(connection, "MOMENT", 0)
    recent = Recent(partial(next, count()))

    assert [recent.take() for _ in range(3)] == [(n, timedelta(0)) for n in range(3)]
