"""How many messages wait on each queue, without consuming any."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import uuid4

import kombu
from redis.exceptions import RedisError

from config.queues import Queues
from config.redis_url import is_redis
from config.settings import Settings
from worker.ledger.connection import BrokerAway, connect_once

#: A broker that does not answer within this is away, and its queue lengths unknown.
PATIENCE = timedelta(seconds=3)
#: The suffixes of Celery's lists for messages of lower priority, on a Redis broker.
_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")


def queue_lengths(settings: Settings) -> dict[str, int]:
    """Messages waiting on each of our queues, not counting those a worker holds; or BrokerAway."""
    names = Queues.of(settings.key_prefix)
    if is_redis(settings.broker):
        return _of_redis(settings.broker, names)
    return _of_kombu(settings.broker, names)


def try_to_publish(url: str) -> None:
    """Raise BrokerAway if RabbitMQ takes no messages; other brokers are not tested.

    The probe goes to a queue that does not exist: RabbitMQ confirms and drops it.
    """
    patience = PATIENCE.total_seconds()
    connection = kombu.Connection(url, connect_timeout=patience, transport_options={"confirm_publish": True})
    try:
        if connection.transport.driver_type == "amqp":
            probe = f"reconciler.probe.{uuid4().hex}"
            connection.Producer().publish({}, routing_key=probe, confirm_timeout=patience)
    except TimeoutError:
        raise BrokerAway("it takes no messages: is it short of memory or disk?") from None
    except Exception as error:  # each transport has its own errors
        raise BrokerAway(type(error).__name__) from None
    finally:
        # Not close(), whose handshake a blocked broker may never answer.
        connection.collect(socket_timeout=patience)


def known_queue_lengths(settings: Settings) -> Mapping[str, int | None]:
    """The same, but None for each queue if the broker is away."""
    try:
        return queue_lengths(settings)
    except BrokerAway:
        return dict.fromkeys(Queues.of(settings.key_prefix))


def _of_redis(url: str, names: Queues) -> dict[str, int]:
    try:
        client = connect_once(url, PATIENCE)
        with closing(client), client.pipeline(transaction=False) as pipeline:
            for queue in names:
                for priority in _PRIORITIES:
                    pipeline.llen(queue + priority)
            lengths: list[int] = pipeline.execute()
    except (RedisError, ValueError) as error:
        raise BrokerAway(type(error).__name__) from None
    width = len(_PRIORITIES)
    return {queue: sum(lengths[n * width : (n + 1) * width]) for n, queue in enumerate(names)}


def _of_kombu(url: str, names: Queues) -> dict[str, int]:
    try:
        with kombu.Connection(url, connect_timeout=PATIENCE.total_seconds()) as connection:
            connection.connect()
            return {queue: _length(connection, queue) for queue in names}
    except Exception as error:  # each transport has its own errors
        raise BrokerAway(type(error).__name__) from None


def _length(connection: Any, queue: str) -> int:
    # A channel each, since the broker closes it if the queue does not exist.
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
