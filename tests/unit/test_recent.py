"""What many messages in one moment need of the server."""

from __future__ import annotations

from functools import partial
from itertools import count

import pytest

from worker.ledger import connection
from worker.ledger.connection import Recent


@pytest.mark.parametrize(
    ("moment", "found"), [(60, [0, 0, 0]), (-1, [0, 1, 2])], ids=["within it", "after it"]
)
def test_it_is_read_once_in_a_moment(monkeypatch: pytest.MonkeyPatch, moment: int, found: list[int]) -> None:
    monkeypatch.setattr(connection, "MOMENT", moment)
    recent = Recent(partial(next, count()))

    assert [recent.take() for _ in range(3)] == found
