"""Publishes tasks in a bounded time, without blocking the server's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery

from config.celery import celery_config
from config.redis_url import is_redis
from config.settings import Settings
from worker.broker.outages import why
from worker.ledger.connection import BrokerAway

#: A publish is mostly one round trip, so this is enough for several hundred a second.
THREADS = 8
#: The time for one step of a publish and for all of it: Cronofy wants an answer within 5 s (reference §6c),
#: and gets it within 1.
STEP_SECONDS = 0.4
PUBLISH_SECONDS = 0.8


class Publisher:
    """A separate Celery client: the worker's application may wait for the broker, this one must not."""

    def __init__(self, settings: Settings) -> None:
        """Connects at the first task."""
        config = celery_config(settings)
        if is_redis(settings.broker):
            config["broker_transport_options"] |= {
                "socket_timeout": STEP_SECONDS,
                "socket_connect_timeout": STEP_SECONDS,
            }
        self._app = Celery("conferencing", set_as_current=False)
        self._app.conf.update(
            config,
            broker_connection_timeout=STEP_SECONDS,
            broker_pool_limit=THREADS,
            result_backend="disabled://",
        )
        # Made now rather than for the first notification, as it takes half a second.
        _ = self._app.amqp.default_queue
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="publish")

    async def publish(self, task: str, kwargs: Mapping[str, Any], args: Sequence[Any] = ()) -> None:
        """Return once the broker has the message; BrokerAway if that fails or takes too long.

        Even then the message may have arrived.
        """
        sending = asyncio.get_running_loop().run_in_executor(self._pool, self._send, task, kwargs, args)
        try:
            await asyncio.wait_for(sending, PUBLISH_SECONDS)
        except TimeoutError:
            raise BrokerAway("it does not answer in time") from None

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._app.close()

    def _send(self, task: str, kwargs: Mapping[str, Any], args: Sequence[Any]) -> None:
        try:
            self._app.send_task(
                task,
                args=list(args),
                kwargs=dict(kwargs),
                ignore_result=True,
                confirm_timeout=STEP_SECONDS,
                # Made from the arguments, these would take longer than all the rest, and expose them to
                # monitors.
                argsrepr="",
                kwargsrepr="",
                # One immediate retry: an idle connection may be gone while the broker is fine.
                retry=True,
                retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0},
            )
        except Exception as error:
            # Whatever the error, the message may be lost, so the sender must send it again.
            raise BrokerAway(why(error) or type(error).__name__) from None
