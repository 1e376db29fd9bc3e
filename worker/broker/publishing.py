"""Publishing: each message is confirmed by the broker within a bounded time, or fails.

RabbitMQ confirms messages if asked to (``confirm_publish``); when short of memory or disk, it silently stops
reading from publishers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final

from celery.app import amqp

#: How long to wait for a confirmation; after that the publish has failed, as if the broker were away.
CONFIRM_SECONDS: Final = 5.0


class AMQP(amqp.AMQP):
    """Celery's, but no publish waits forever."""

    @cached_property
    def send_task_message(self) -> Callable[..., Any]:
        """Sends a task's message; only RabbitMQ makes use of the timeout."""
        return partial(super().send_task_message, confirm_timeout=CONFIRM_SECONDS)
