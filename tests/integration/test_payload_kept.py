"""A good payload whose task fails is not lost either."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Reject
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, ReadOnlyError, RedisError

from tasks import payload
from tests.integration.world import Begin, World
from worker.intake.payloads import AccountOnly

TASK: Any = SimpleNamespace(name="conferencing.forget_account", request=SimpleNamespace(id="1"))
KWARGS = {"sub": "acc_unlucky"}


def fail(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make the task fail with this error once its payload was accepted."""

    def service(*_: object) -> bool:
        raise error

    monkeypatch.setattr(payload, "services", lambda: world.services)
    monkeypatch.setattr(payload, "REST_SECONDS", 0)
    payload.handle(TASK, AccountOnly, service, (), KWARGS)


def kept(world: World) -> list[tuple[str, str, Any]]:
    """The dead letters."""
    return [
        (each.letter.task, each.letter.reason, each.letter.kwargs) for each in world.services.dead_letters
    ]


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), DataError("x"), RedisError("x")],
    ids=["a bug", "what Redis cannot store", "a script"],
)
def test_what_fails_unexpectedly_is_kept(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The caller gets the error, and the dead letter has everything that was sent."""
    world = begin()

    with pytest.raises(type(error)):
        fail(world, monkeypatch, error)

    reason = f"It failed unexpectedly ({type(error).__name__})."
    assert kept(world) == [(TASK.name, reason, KWARGS)]


@pytest.mark.parametrize(
    "error", [RedisConnectionError("x"), ReadOnlyError("x")], ids=["Redis is away", "Redis takes no writes"]
)
def test_what_an_outage_stops_is_redelivered_and_not_kept(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It is redelivered, as often as needed."""
    world = begin()

    with pytest.raises(Reject) as given_back:
        fail(world, monkeypatch, error)

    assert vars(given_back.value)["requeue"] is True
    assert kept(world) == []
