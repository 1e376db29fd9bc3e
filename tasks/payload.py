"""How a task takes its payload: checked, and kept as a dead letter where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
from celery import Task
from celery.exceptions import Reject
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.app import services
from worker.bootstrap import Services
from worker.intake.payloads import BadPayload, Payload, parse

P = TypeVar("P", bound=Payload)
R = TypeVar("R")

#: Options of every public task: its answer is kept, and a refused payload is no error of ours.
PUBLIC: dict[str, Any] = {"bind": True, "ignore_result": False, "throws": (BadPayload,)}

log = structlog.get_logger()


def handle(
    task: Task[..., Any],
    model: type[P],
    service: Callable[[Services, P], R],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> R:
    """Check the arguments and hand them to the service; a payload that does not fit is kept, not retried."""
    with bound_to(task):
        try:
            payload = parse(model, args, kwargs)
        except BadPayload as error:
            services().dead_letters.keep(task.name, str(error), args, kwargs)
            log.warning("payload.refused", reason=str(error))
            raise
        return service(services(), payload)


@contextmanager
def bound_to(task: Task[..., Any]) -> Iterator[None]:
    """Bind the task's name and id to all that is logged; give the message back while Redis is away."""
    with structlog.contextvars.bound_contextvars(task=task.name, task_id=task.request.id):
        try:
            yield
        except (RedisConnectionError, RedisTimeoutError) as error:
            log.warning("task.given_back", reason=type(error).__name__)
            raise Reject(str(type(error).__name__), requeue=True) from None
