"""What a killed worker of version 0.1.0 held is delivered again by a worker of this version."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Queue
from redis import Redis

from config.queues import Queues
from worker.broker.former_names import EVERY_SECONDS, PAGE
from worker.broker.redis_transport import Transport
from worker.host.embedded import embedded_server

#: Other names than Kombu's own.
OURS = {
    "unacked_key": "reconciler.unacked",
    "unacked_index_key": "reconciler.unacked_index",
    "unacked_mutex_key": "reconciler.unacked_mutex",
}
VISIBILITY = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own: these names belong to no test's prefix."""
    with embedded_server(tmp_path_factory.mktemp("broker")) as url:
        yield url


@pytest.fixture
def broker(server: str) -> Iterator[Redis]:
    """A client of that server, emptied."""
    with Redis.from_url(server) as client:
        client.flushall()
        yield client


@pytest.fixture
def channel(broker: Redis, server: str) -> Iterator[Any]:
    """A channel of a worker of this version, with bindings to all queues."""
    options = {**OURS, "visibility_timeout": VISIBILITY}
    with Connection(server, transport=Transport, transport_options=options) as connection:
        for name in Queues.of("reconciler"):
            Queue(name, Exchange(name), routing_key=name)(connection.default_channel).declare()
        yield connection.default_channel


def _killed_with(
    server: str, broker: Redis, queue: str, text: str, exchange: str = "", age: float = 60
) -> str:
    """A message that a Celery with Kombu's own names took off its queue before it was killed; its tag."""
    with Connection(server) as connection:
        channel: Any = connection.channel()
        source = Queue(queue, Exchange(queue), routing_key=queue)(channel)
        source.declare()
        connection.Producer(channel).publish({"text": text}, exchange=exchange, routing_key=queue)
        taken: list[Any] = []
        with Consumer(channel, [source], accept=["json"]) as consumer:
            consumer.register_callback(lambda _, message: taken.append(message))
            connection.drain_events(timeout=5)
            # Killed: nothing is given back.
            channel.do_restore = False
    [message] = taken
    broker.zadd("unacked_index", {message.delivery_tag: time.time() - age}, xx=True)
    return str(message.delivery_tag)


def _waiting(broker: Redis, queue: str) -> list[Any]:
    lines: Any = broker.lrange(queue, 0, -1)
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("exchange", ["", "reconciler.intake"], ids=["by queue", "by exchange"])
def test_our_message_is_delivered_again(server: str, broker: Redis, channel: Any, exchange: str) -> None:
    """It is on its queue once, marked as delivered again, and held by nobody."""
    _killed_with(server, broker, "reconciler.intake", "ours", exchange)

    channel.qos.restore_visible()

    [message] = _waiting(broker, "reconciler.intake")
    assert message["headers"]["redelivered"] is True
    assert broker.exists("unacked", "unacked_index") == 0


def test_two_workers_deliver_it_once(server: str, broker: Redis, channel: Any) -> None:
    """Whichever comes first."""
    _killed_with(server, broker, "reconciler.intake", "ours")

    overdue = list(channel.qos.former._overdue(broker))
    for tag in overdue * 2:
        channel.qos.former.restore_by_tag(tag, broker)

    assert len(overdue) == len(_waiting(broker, "reconciler.intake")) == 1


def test_what_another_program_holds_stays_as_it_is(server: str, broker: Redis, channel: Any) -> None:
    """However many there are, and though its queue or its payload names one of ours."""
    theirs = ["billing", "reconciler.intake.old", "old.reconciler.intake"]
    for number, queue in enumerate(theirs):
        _killed_with(server, broker, queue, '"reconciler.intake"]', age=1000 + number)
    records: Any = broker.hvals("unacked")
    for number in range(PAGE):
        broker.hset("unacked", f"many-{number}", records[0])
        broker.zadd("unacked_index", {f"many-{number}": 1})
    broker.zadd("unacked_index", {"no record": 1})
    before = (broker.hgetall("unacked"), broker.zrange("unacked_index", 0, -1, withscores=True))
    _killed_with(server, broker, "reconciler.mail", "ours")

    channel.qos.restore_visible()

    assert len(_waiting(broker, "reconciler.mail")) == 1
    assert (broker.hgetall("unacked"), broker.zrange("unacked_index", 0, -1, withscores=True)) == before
    assert [broker.llen(queue) for queue in theirs] == [0, 0, 0]


def test_what_a_running_worker_holds_stays_with_it(server: str, broker: Redis, channel: Any) -> None:
    """Until it is older than the visibility timeout; what was dead then is found at a later look."""
    tag = _killed_with(server, broker, "reconciler.looks", "ours", age=VISIBILITY - 5)
    channel.qos.restore_visible()
    held = broker.hlen("unacked")

    broker.zadd("unacked_index", {tag: time.time() - VISIBILITY - 1})
    channel.qos.restore_visible()
    soon = broker.hlen("unacked")
    channel.qos.former._next -= EVERY_SECONDS
    channel.qos.restore_visible()

    assert (held, soon, broker.hlen("unacked")) == (1, 1, 0)
    assert len(_waiting(broker, "reconciler.looks")) == 1


def test_without_rights_to_those_names_a_worker_goes_on(server: str, broker: Redis, channel: Any) -> None:
    """It has them only during an upgrade; the broker does not count as unavailable."""
    _killed_with(server, broker, "reconciler.intake", "ours")
    run: Any = broker.execute_command
    run("ACL", "SETUSER", "default", "resetkeys", "~reconciler.*", "~_kombu.*")
    try:
        channel.qos.restore_visible()
    finally:
        run("ACL", "SETUSER", "default", "allkeys")

    assert broker.hlen("unacked") == 1
