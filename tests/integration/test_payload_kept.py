"""A good payload whose task fails is not lost either."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Reject
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, ReadOnlyError, RedisError, ResponseError

from tasks import payload
from tests.integration.world import Begin
from worker.intake.payloads import AccountOnly

TASK: Any = SimpleNamespace(name="conferencing.forget_account", request=SimpleNamespace(id="1", headers=None))
KWARGS = {"sub": "acc_unlucky"}


@pytest.mark.parametrize(
    ("error", "raised", "kept"),
    [
        pytest.param(KeyError("x"), KeyError, True, id="a bug"),
        pytest.param(DataError("x"), DataError, True, id="what Redis cannot store"),
        pytest.param(ResponseError("user_script:1: x"), ResponseError, True, id="a script"),
        pytest.param(ResponseError("BUSY x"), Reject, False, id="Redis is busy"),
        pytest.param(RedisError("x"), Reject, False, id="Redis answers nonsense"),
        pytest.param(RedisConnectionError("x"), Reject, False, id="Redis is away"),
        pytest.param(ReadOnlyError("x"), Reject, False, id="Redis takes no writes"),
    ],
)
def test_a_payload_whose_task_fails_is_kept_or_redelivered(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception], kept: bool
) -> None:
    """Unexpected errors reach the caller and leave a dead letter; what an outage stops is redelivered."""
    world = begin()
    monkeypatch.setattr(payload, "services", lambda: world.services)
    monkeypatch.setattr(payload, "REST_SECONDS", 0)

    def fail(*_: object) -> bool:
        raise error

    with pytest.raises(raised) as caught:
        payload.handle(TASK, AccountOnly, fail, (), KWARGS)

    letters = [
        (each.letter.task, each.letter.reason, each.letter.kwargs) for each in world.services.dead_letters
    ]
    reason = f"It failed unexpectedly ({raised.__name__})."
    assert letters == ([(TASK.name, reason, KWARGS)] if kept else [])
    assert vars(caught.value).get("requeue", False) is not kept


def test_a_payload_that_cannot_be_kept_is_redelivered(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else has it: it is acknowledged once the ledger or the dead letters have it, whatever fails."""
    world = begin()
    monkeypatch.setattr(payload, "services", lambda: world.services)
    monkeypatch.setattr(payload, "REST_SECONDS", 0)
    # The letters' stream is something else: no outage, and no letter can be written.
    world.services.ledger.redis.set(world.services.ledger.keys.dead_letters, "x")

    with pytest.raises(Reject) as caught:
        payload.handle(TASK, AccountOnly, lambda *_: True, (), {"wrong": "x"})

    assert vars(caught.value)["requeue"]
