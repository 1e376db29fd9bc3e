"""Which errors mean that a server is unavailable, and how that is reported."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import (
    AuthenticationError,
    ClusterCrossSlotError,
    DataError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.testing import capture_logs

from worker.broker.outages import ServerOutage, why

BY_THE_BROKER = OperationalError("x")
BY_THE_BROKER.__cause__ = ReadOnlyError("x")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(RedisConnectionError("refused"), "it does not answer", id="away"),
        pytest.param(RedisTimeoutError("late"), "it does not answer", id="slow"),
        pytest.param(ReadOnlyError("You can't write"), "it is a read-only replica", id="replica"),
        pytest.param(OutOfMemoryError("command not allowed"), "it is out of memory", id="full"),
        pytest.param(NoPermissionError("no"), "its ACL does not let", id="ACL"),
        pytest.param(AuthenticationError("no"), "its ACL does not let", id="password"),
        pytest.param(ResponseError("NOREPLICAS Not enough"), "it has too few replicas", id="no replicas"),
        pytest.param(ResponseError("MISCONF Redis is configured"), "it cannot write to its disk", id="disk"),
        pytest.param(ResponseError("BUSY Redis is busy"), "it is busy with somebody's script", id="busy"),
        pytest.param(MasterDownError("Link with MASTER"), "it is a replica that lost", id="orphan"),
        pytest.param(ClusterCrossSlotError("x"), "it is a Redis Cluster", id="cluster"),
        pytest.param(ResponseError("NEWCODE x"), "it refuses our commands (NEWCODE)", id="unknown code"),
        pytest.param(RedisError("secret"), "it refuses our commands (RedisError)", id="unknown kind"),
        pytest.param(
            ResponseError("Command # 1 (SET a secret) of pipeline caused error: MISCONF x"),
            "it cannot write to its disk",
            id="in a pipeline",
        ),
        pytest.param(BY_THE_BROKER, "it is a read-only", id="the broker's replica"),
        pytest.param(OperationalError("amqp"), "it does not answer", id="another broker"),
    ],
)
def test_an_unavailable_server_is_distinguished_from_our_errors(error: Exception, reason: str) -> None:
    """The reason is our own sentence, with nothing of what the server said."""
    told = why(error)

    assert told is not None
    assert told.startswith(reason)
    assert "secret" not in told


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ResponseError("WRONGTYPE Operation against a key"), id="a wrong command"),
        pytest.param(ResponseError("user_script:3: attempt to index nil"), id="a fault of a script"),
        pytest.param(ResponseError("value is not an integer or out of range"), id="a wrong argument"),
        pytest.param(DataError("Invalid input"), id="what Redis cannot store"),
        pytest.param(ValueError("READONLY"), id="not Redis's"),
    ],
)
def test_our_own_error_is_not_an_outage(error: Exception) -> None:
    """What would fail again is not waited for."""
    outage = ServerOutage("ledger")

    assert why(error) is None
    assert not outage.began(error)
    assert outage.reason is None


def test_an_outage_lasts_until_it_is_over() -> None:
    """The latest reason counts."""
    outage = ServerOutage("ledger")

    assert outage.began(RedisConnectionError())
    assert outage.began(ReadOnlyError())
    assert (outage.reason or "").startswith("it is a read-only replica")
    outage.over()
    assert outage.reason is None


def test_each_reason_for_an_outage_is_logged_once() -> None:
    """A server may come back and take no writes; in the next outage the log says so again."""
    outage, away, full = ServerOutage("ledger"), RedisConnectionError(), OutOfMemoryError()

    with capture_logs() as lines:
        for error in (away, full, away, full):
            outage.began(error)
        outage.over()
        outage.began(full)

    assert [(line["event"], line.get("says")) for line in lines] == [
        ("redis.unavailable", "Redis does not answer"),
        ("redis.unavailable", "Redis takes no writes: it is out of memory"),
        ("redis.available", None),
        ("redis.unavailable", "Redis takes no writes: it is out of memory"),
    ]
