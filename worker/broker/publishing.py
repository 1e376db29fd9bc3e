"""How messages get to the broker: each publish ends, in a bounded time, with the broker's word for it.

RabbitMQ confirms a message where it is asked to (``confirm_publish``); one that is short of memory or disk
stops reading from whoever publishes, and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final

from celery.app import amqp

#: How long a confirmation is waited for; then the publish failed, as on a broker that is away.
CONFIRM_SECONDS: Final = 5.0


class AMQP(amqp.AMQP):
    """Celery's, but no publish waits for ever."""

    @cached_property
    def send_task_message(self) -> Callable[..., Any]:
        """What sends a task's message; other brokers than RabbitMQ know no confirmation."""
        return partial(super().send_task_message, confirm_timeout=CONFIRM_SECONDS)
