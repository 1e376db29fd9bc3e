"""Kombu's Redis transport, for a server that holds anything on its lists and may refuse writes for a while.

Kombu takes a message off its list first and records it as unacknowledged then. A server that refuses the
second (read-only, out of memory), or dies in between, would lose the message; one that refuses its
acknowledgement would end the worker, or keep a place in it taken. Here no message is lost to that, and a
worker takes no more of them until the server takes writes again.

This is the one module that overrides private parts of a library: Kombu offers no other place for it. It was
written against Kombu 5.7.0, and `pyproject.toml` bounds Kombu to 5.7; read it again before that bound moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import time
from typing import Any, ClassVar, Final

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import dumps
from redis.exceptions import DataError, OutOfMemoryError, RedisError, ResponseError

from worker.outage import BROKER

#: How often a server that refuses writes is tried.
PROBE_SECONDS: Final = 1.0
#: A write that changes nothing, and is refused where others are.
_PROBE: Final = ("SETRANGE", "_kombu.probe", 0, "")

#: What `QoS.append` writes, also on a full server: it takes the place of what was just taken off a list.
_RECORD: Final = """#!lua flags=allow-oom
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
"""

log = structlog.get_logger()


class QoS(redis.QoS):
    """Kombu's record of unacknowledged messages, which loses none to a server that refuses writes."""

    channel: Channel

    def can_consume(self) -> bool:
        """Whether to take one more message."""
        return BROKER.reason is None and bool(super().can_consume())

    def append(self, message: Any, delivery_tag: str) -> None:
        """Record a message that was just taken off its list."""
        try:
            super().append(message, delivery_tag)
        except OutOfMemoryError as full:
            BROKER.began(full)
            place = message.delivery_info
            record = dumps([message._raw, place["exchange"], place["routing_key"]])
            with self.channel.conn_or_acquire() as client:
                keys = self.unacked_index_key, self.unacked_key
                client.eval(_RECORD, len(keys), *keys, delivery_tag, time(), record)
            virtual.QoS.append(self, message, delivery_tag)
        except RedisError as fault:
            # The message is in our hands only. It goes back as soon as that can be; where it was recorded all
            # the same, and only the answer was lost, it is done once more.
            if BROKER.began(fault):
                Transport.owed.append(lambda channel: channel.give_back(message))
            raise

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; where that is refused, as soon as it is not."""
        with self._owing(delivery_tag, lambda qos: qos._remove_from_indices(delivery_tag).execute()):
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a message back or drop it; where that is refused, as soon as it is not."""

        def later(qos: Any) -> None:
            if requeue:
                qos.restore_by_tag(delivery_tag, leftmost=True)
            else:
                qos._remove_from_indices(delivery_tag).execute()

        with self._owing(delivery_tag, later):
            super().reject(delivery_tag, requeue=requeue)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Give back what dead workers held for too long."""
        if BROKER.reason is None:
            with tolerating_refusal():
                super().restore_visible(*args, **kwargs)

    def restore_unacked(self, client: Any = None) -> None:
        """At the end, give back what this worker holds."""
        with tolerating_refusal():
            super().restore_unacked(client)

    @contextmanager
    def _owing(self, delivery_tag: str, later: Callable[[Any], None]) -> Iterator[None]:
        """What is refused is done later; the place that the message holds is free in any case, or the worker
        would stop in the end."""
        try:
            yield
        except ResponseError as refused:
            if not BROKER.began(refused):
                raise
            virtual.QoS.ack(self, delivery_tag)
            Transport.owed.append(lambda channel: later(channel.qos))


class Channel(redis.Channel):
    """Kombu's channel, but an item that is no message is dropped, and refusals are waited out."""

    QoS = QoS
    #: Kombu's own, which its stubs leave out.
    _q_for_pri: Callable[[str, int], str]

    def _brpop_read(self, **options: Any) -> Any:
        try:
            with tolerating_refusal():
                return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DataError) as error:
            # The item is off the list by now, and was nothing that could be handed over.
            log.error("message.dropped", reason="not_a_message", error=type(error).__name__)
        return True

    def maybe_refresh_binding_expiry(self) -> None:
        """Keep the bindings of queues that expire."""
        if BROKER.reason is None:
            with tolerating_refusal():
                super().maybe_refresh_binding_expiry()  # type: ignore[misc]

    def give_back(self, message: Any) -> None:
        """Put a message that was not recorded back where it was taken from."""
        place, raw = message.delivery_info, message._raw
        with self.conn_or_acquire() as client:
            for queue in self._lookup(place["exchange"], place["routing_key"]):
                key = self._q_for_pri(queue, self._get_message_priority(raw, reverse=False))
                client.rpush(key, dumps(raw))

    def try_a_write(self) -> None:
        """Raise what the server says to a write."""
        with self.conn_or_acquire() as client:
            client.execute_command(*_PROBE)


class Transport(redis.Transport):
    """Kombu's Redis transport with that channel."""

    Channel = Channel
    channels: list[Any]

    #: What was refused and is still to be done, for messages that were taken off their lists and not
    #: recorded, acknowledged or given back. It outlives the connection that they came by.
    owed: ClassVar[list[Callable[[Any], None]]] = []

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """As Kombu does; and see when a server that refused writes takes them again."""
        super().register_with_event_loop(connection, loop)
        loop.call_repeatedly(PROBE_SECONDS, self.probe)

    def probe(self) -> None:
        """While the server refuses writes: see whether it takes them again."""
        channel = next((each for each in self.channels if each.active_queues), None)
        if BROKER.reason is not None and channel is not None:
            self.takes_writes(channel)

    def takes_writes(self, channel: Any) -> bool:
        """Whether the server takes writes; if so, do what is owed, and go on."""
        with tolerating_refusal():
            channel.try_a_write()
            while self.owed:
                self.owed[0](channel)
                del self.owed[0]
            BROKER.over()
        return BROKER.reason is None


def install() -> None:
    """Have Celery use this transport for Redis brokers."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


@contextmanager
def tolerating_refusal() -> Iterator[None]:
    """What the server refuses for now, it is asked again later."""
    try:
        yield
    except ResponseError as refused:
        if not BROKER.began(refused):
            raise
