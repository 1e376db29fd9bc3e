"""A broker that is busy with somebody's script refuses subscriptions, too."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from kombu import Connection, Consumer, Exchange, Queue

from tests.faults.server import running_server
from tests.waiting import wait_until
from worker.broker.outages import BROKER
from worker.broker.redis_transport import Transport


def test_a_refused_subscription_is_made_once_the_server_accepts_it(tmp_path: Path) -> None:
    """Remote control misses what is sent meanwhile, but the worker goes on, and hears it afterwards."""
    everyone = Exchange("control", type="fanout")
    heard: list[Any] = []

    def listen() -> list[Any]:
        """What was heard so far, or within half a second."""
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.5)
        return heard

    with (
        running_server(tmp_path / "broker") as server,
        Connection(server.url, transport=Transport) as connection,
        Consumer(
            connection,
            [Queue("ours", everyone, auto_delete=True)],
            callbacks=[lambda body, _: heard.append(body)],
            no_ack=True,
        ) as consumer,
    ):
        with server.busy():
            listen()
            assert BROKER.reason is not None

        transport = connection.transport
        assert isinstance(transport, Transport)
        assert transport.takes_writes(consumer.channel)

        with Connection(server.url, transport=Transport) as other, other.Producer() as producer:
            producer.publish("hello", exchange=everyone, declare=[everyone])
            wait_until(listen)
    assert heard[0] == "hello"
