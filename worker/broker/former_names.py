"""What a killed worker of version 0.1.0 held comes back: it recorded that under names without a prefix.

Any Celery on the same database uses these names, so only messages for our own queues are touched. When no
0.1.0 is upgraded any more, delete this module, its use in `redis_transport`, and its test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from math import inf
from time import monotonic, time
from typing import Any, Final

from kombu.transport import redis
from redis.exceptions import NoPermissionError

from config.queues import Queues

#: How often to look.
EVERY_SECONDS: Final = 10.0
#: How many records to read at a time: another program's may be many, and are never removed.
PAGE: Final = 500
#: A record is the JSON list [message, exchange, routing key]. Our routing keys are queues' names, which in
#: 0.1.0 had this prefix whatever the ledger's.
_OURS: Final = tuple(f'"{queue}"]'.encode() for queue in Queues.of("reconciler"))


class FormerQoS(redis.QoS):
    """Kombu's record of unacknowledged messages, as 0.1.0 named it."""

    channel: Any

    unacked_key = "unacked"
    unacked_index_key = "unacked_index"

    def __init__(self, channel: Any) -> None:
        """`channel` restores the messages; its visibility timeout says when."""
        super().__init__(channel)
        self._next = 0.0

    def give_back(self) -> None:
        """Requeue our messages that were held for too long; does nothing if it did so a moment ago."""
        if monotonic() < self._next:
            return
        # A user with few rights has these only during an upgrade: without them, this was the last look.
        self._next = inf
        with suppress(NoPermissionError), self.channel.conn_or_acquire() as client:
            for tag in self._overdue(client):
                self.restore_by_tag(tag, client)
            self._next = monotonic() + EVERY_SECONDS

    def _overdue(self, client: Any) -> Iterator[str]:
        tags = client.zrange(self.unacked_index_key, 0, time() - self.visibility_timeout, byscore=True)
        for start in range(0, len(tags), PAGE):
            page = tags[start : start + PAGE]
            for tag, record in zip(page, client.hmget(self.unacked_key, page), strict=True):
                if record is not None and record.endswith(_OURS):
                    yield tag.decode()
