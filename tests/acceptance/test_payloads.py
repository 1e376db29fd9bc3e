"""Payloads that do not fit: the caller is told, the letter is kept, and the next call is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgpack
import pytest

from tests.acceptance.harness import Fleet

SECRET = f"planted-refresh-token-{uuid4().hex}"
GRANT: dict[str, Any] = {"sub": "acc_refused", "refresh_token": SECRET}
TIMES = {"start": "2030-01-01T10:00:00Z", "end": "2030-01-01T11:00:00Z"}


@dataclass(frozen=True)
class Case:
    """A call that is refused, and what the refusal has to say."""

    name: str
    task: str
    kwargs: dict[str, Any]
    #: All of these words stand in the failure.
    named: tuple[str, ...]
    args: tuple[Any, ...] = field(default=())


CASES = [
    Case("missing kwarg", "connect_account", {"refresh_token": SECRET}, ("sub", "missing")),
    Case("unknown kwarg", "connect_account", {**GRANT, "colour": "red"}, ("colour",)),
    Case("wrong type", "connect_account", {**GRANT, "sub": 5}, ("sub", "must be a text")),
    Case("unknown value", "connect_account", {**GRANT, "data_center": "mars"}, ("data_center",)),
    Case("a name that Celery uses itself", "connect_account", {**GRANT, "self": 1}, ("self", "unknown")),
    Case("positional arguments", "connect_account", {}, ("keyword arguments",), ("acc_refused", SECRET)),
    Case("over 64 KiB", "connect_account", {**GRANT, "name": "x" * 65_536}, ("bytes", "65536")),
    Case("not a number", "connect_account", {**GRANT, "expires_in": float("nan")}, ("NaN",)),
    Case(
        "event without event_id",
        "track",
        {"sub": "acc_refused", "calendar_id": "cal", "event": {"summary": SECRET, **TIMES}},
        ("event_id",),
    ),
    Case(
        "event that is no object",
        "track",
        {"sub": "acc_refused", "calendar_id": "cal", "event": [SECRET]},
        ("event", "dictionary"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_payload_that_does_not_fit_is_refused_and_kept(case: Case, fleet: Fleet) -> None:
    """The failure names the fault and no value; the letter is sealed; a good call right after is answered."""
    before = fleet.redis.xlen("reconciler:dead-letters")

    failure = fleet.caller.failure(case.task, args=case.args, **case.kwargs)

    fleet.answers()
    assert all(word in failure for word in case.named), failure
    assert SECRET not in failure
    letters: Any = fleet.redis.xrange("reconciler:dead-letters")
    assert len(letters) == before + 1
    letter = msgpack.unpackb(letters[-1][1][b"letter"])
    assert letter["task"] == f"conferencing.{case.task}"
    assert letter["reason"] in failure
    assert not [True for _, fields in letters for value in fields.values() if SECRET.encode() in value]


def test_a_refused_payload_changes_nothing(fleet: Fleet) -> None:
    """Nothing of what was refused is in the ledger."""
    keys: Any = fleet.redis.keys("reconciler:*acc_refused*")
    assert keys == []
