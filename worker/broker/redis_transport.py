"""Kombu's Redis transport, hardened against junk on its lists and a server that refuses writes for a while.

Kombu takes a message off its list, then records it as unacknowledged. If the server refuses the record
(read-only, out of memory) or dies in between, the message is lost; if it refuses an acknowledgement, the
worker ends or loses one of its slots. Here neither happens, and a worker takes no more messages until the
server accepts writes again.

This is the only module that overrides private parts of a library, since Kombu offers no hook. It was written
against Kombu 5.7.0, and `pyproject.toml` pins Kombu to 5.7: review this module before raising that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from time import time
from typing import Any, ClassVar, Final

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import dumps
from redis.exceptions import DataError, OutOfMemoryError, RedisError, ResponseError

from worker.broker.former_names import FormerQoS
from worker.broker.outages import BROKER
from worker.ledger.connection import (
    PlainConnection,
    SentinelConnection,
    SentinelTlsConnection,
    TlsConnection,
)

#: How often to test a server that refuses writes.
PROBE_SECONDS: Final = 1.0
#: A write that changes nothing, but is refused when others are.
_PROBE: Final = ("SETRANGE", "_kombu.probe", 0, "")

#: What `QoS.append` writes, allowed on a full server: it needs the space that taking the message just freed.
_RECORD: Final = """#!lua flags=allow-oom
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
"""

log = structlog.get_logger()


class QoS(redis.QoS):
    """Kombu's record of unacknowledged messages, but it loses none when the server refuses writes."""

    channel: Channel

    @cached_property
    def former(self) -> FormerQoS:
        """The same record under the names of version 0.1.0."""
        return FormerQoS(self.channel)

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
            # Only we have the message now, so it goes back as soon as possible. If it was recorded after all
            # and only the answer was lost, it is processed twice.
            if BROKER.began(fault):
                Transport.owed.append(lambda channel: channel.give_back(message))
            raise

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; if that is refused, as soon as possible."""
        with self._owing(delivery_tag, requeue=False):
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Requeue or drop a message; if that is refused, as soon as possible."""
        with self._owing(delivery_tag, requeue=requeue):
            super().reject(delivery_tag, requeue=requeue)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Requeue what dead workers held for too long."""
        if BROKER.reason is None:
            with tolerating_refusal():
                super().restore_visible(*args, **kwargs)
                self.former.give_back()

    def restore_unacked(self, client: Any = None) -> None:
        """At shutdown, requeue what this worker holds."""
        with tolerating_refusal():
            super().restore_unacked(client)

    @contextmanager
    def _owing(self, delivery_tag: str, *, requeue: bool) -> Iterator[None]:
        """Postpone what is refused, but free the message's slot now, or the worker would run out of them."""

        def later(channel: Any) -> None:
            if requeue:
                channel.qos.restore_by_tag(delivery_tag, leftmost=True)
            else:
                channel.qos._remove_from_indices(delivery_tag).execute()

        try:
            yield
        except ResponseError as refused:
            if not BROKER.began(refused):
                raise
            virtual.QoS.ack(self, delivery_tag)
            Transport.owed.append(later)


class Channel(redis.Channel):
    """Kombu's channel, but it drops items that are not messages, and waits out refusals."""

    QoS = QoS
    connection_class: type[Any] = PlainConnection
    connection_class_ssl: type[Any] = TlsConnection
    #: Missing from Kombu's stubs.
    _q_for_pri: Callable[[str, int], str]
    _kept: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """The client for a few commands: always the same, since to make one takes longer than a command."""
        if client is None and (self._kept is None or self._kept.connection_pool is not self.pool):
            self._kept = self._create_client()  # type: ignore[attr-defined]
        yield client or self._kept

    def _brpop_read(self, **options: Any) -> Any:
        try:
            with tolerating_refusal():
                return super()._brpop_read(**options)  # type: ignore[misc]
            # Now rather than before the next command: the loop must get to know the new connection.
            self.client.connection.disconnect()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DataError) as error:
            # The item is already off the list, and could not be delivered.
            log.error("message.dropped", reason="not_a_message", error=type(error).__name__)
        return True

    def _receive(self) -> Any:
        """Read what came for remote control; a subscription that was refused is made again later."""
        try:
            return super()._receive()  # type: ignore[misc]
        except ResponseError as refused:
            if not BROKER.began(refused):
                raise
            Transport.owed.append(lambda _: self._subscribe_again())
            return False

    def _subscribe_again(self) -> None:
        # If it was closed meanwhile, its successor has subscribed.
        if not self.closed:
            self._subscribe()  # type: ignore[attr-defined]

    def maybe_refresh_binding_expiry(self) -> None:
        """Renew the bindings of expiring queues, unless the server refuses writes."""
        if BROKER.reason is None:
            with tolerating_refusal():
                super().maybe_refresh_binding_expiry()  # type: ignore[misc]

    def give_back(self, message: Any) -> None:
        """Put a message that was not recorded back on its list."""
        place, raw = message.delivery_info, message._raw
        with self.conn_or_acquire() as client:
            for queue in self._lookup(place["exchange"], place["routing_key"]):
                key = self._q_for_pri(queue, self._get_message_priority(raw, reverse=False))
                client.rpush(key, dumps(raw))

    def try_a_write(self) -> None:
        """Raise whatever error the server gives to a write."""
        with self.conn_or_acquire() as client:
            client.execute_command(*_PROBE)


class Transport(redis.Transport):
    """Kombu's Redis transport with our channel."""

    Channel = Channel
    channels: list[Any]

    #: Refused operations to repeat: messages not yet recorded, acknowledged or requeued. It outlives the
    #: connection.
    owed: ClassVar[list[Callable[[Any], None]]] = []

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """As Kombu does, and start probing for the end of refused writes."""
        super().register_with_event_loop(connection, loop)
        loop.call_repeatedly(PROBE_SECONDS, self.probe)

    def probe(self) -> None:
        """If the server refused writes, check whether it accepts them again."""
        channel = next((each for each in self.channels if each.active_queues), None)
        if BROKER.reason is not None and channel is not None:
            self.takes_writes(channel)

    def takes_writes(self, channel: Any) -> bool:
        """Whether the server accepts writes; if so, repeat what it refused."""
        with tolerating_refusal():
            channel.try_a_write()
            while self.owed:
                self.owed[0](channel)
                del self.owed[0]
            BROKER.over()
        return BROKER.reason is None


class SentinelChannel(Channel, redis.SentinelChannel):
    """The same channel to the primary that sentinels name."""

    connection_class = SentinelConnection
    connection_class_ssl = SentinelTlsConnection


class SentinelTransport(Transport):
    """The same transport for Sentinel."""

    Channel = SentinelChannel
    default_port = redis.SentinelTransport.default_port


def install() -> None:
    """Make Celery use these transports for Redis brokers."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"


@contextmanager
def tolerating_refusal() -> Iterator[None]:
    """Ignore a temporary refusal: the operation comes round again."""
    try:
        yield
    except ResponseError as refused:
        if not BROKER.began(refused):
            raise
