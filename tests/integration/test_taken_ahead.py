"""How many messages a worker holds at once."""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty
from typing import Any

import pytest
from celery import Celery
from kombu import Connection

from config.celery import celery_config
from config.queues import Queues
from config.settings import load_settings
from worker.broker.redis_transport import AHEAD, install

#: As many as a worker of two processes reserves.
PROCESSES = 2


@pytest.mark.parametrize(
    ("waiting", "held"),
    [
        (["intake"] * 20, ["intake"] * (AHEAD * PROCESSES)),
        (["looks"] * 20, ["looks"] * PROCESSES),
        (["intake", "intake", "intake", "looks", "looks"], ["intake", "intake", "intake", "looks"]),
        (["mail", "intake", "intake"], ["intake", "intake", "mail"]),
    ],
    ids=["only intake", "only looks", "some intake, then looks", "intake and a mail"],
)
def test_only_what_takes_no_time_waits_in_a_worker(
    redis_url: str, prefix: str, waiting: Sequence[str], held: Sequence[str]
) -> None:
    """A look may take seconds: whatever waits behind one waits on its queue, for any worker."""
    install()
    app = Celery("ours")
    app.conf.update(celery_config(load_settings(redis_url=redis_url, key_prefix=prefix)))
    queues = Queues.of(prefix)._asdict()
    taken: list[str] = []

    def take(_: Any, message: Any) -> None:
        taken.append(message.delivery_info["routing_key"].rpartition(".")[2])

    with app.connection_for_read() as connection:
        consumer = app.amqp.TaskConsumer(connection.channel())
        consumer.callbacks = [take]
        consumer.qos(prefetch_count=PROCESSES)
        producer = app.amqp.Producer(connection)
        for name in waiting:
            producer.publish({}, exchange=queues[name], routing_key=queues[name], serializer="json")
        with consumer:
            _drain(connection)

    assert taken == list(held)


def _drain(connection: Connection) -> None:
    try:
        while True:
            connection.drain_events(timeout=0.5)
    except (Empty, TimeoutError):
        return
