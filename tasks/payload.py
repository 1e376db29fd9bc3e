"""How a task takes its payload: checked, and kept as a dead letter if it is bad."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, TypeVar

import structlog
from celery import Task
from celery.exceptions import Reject
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.app import app, services
from worker.bootstrap import Services
from worker.broker.consumer import HAD_ETA
from worker.broker.outages import BROKER, LEDGER, why
from worker.intake.payloads import BadPayload, Payload, parse
from worker.ledger.dead_letters import Full

P = TypeVar("P", bound=Payload)
R = TypeVar("R")


class PublicTask(Task):  # type: ignore[type-arg]
    """A task that takes any keyword, so that one from Celery's own signature is refused like any other.

    It never waits for a countdown or an ETA.
    """

    runs_at_once = True

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        return self.run(*args, **kwargs)


#: How long to wait before giving back a message that cannot be worked on now.
REST_SECONDS = 1.0

log = structlog.get_logger()


def public(
    name: str, model: type[P], *, brings_news: bool = True
) -> Callable[[Callable[[Task[..., Any], Services, P], R]], Task[..., R]]:
    """Make a task of the contract: the function is given the task, the services and the checked payload.

    With `brings_news`, nobody else may have its payload: when the ledger hangs until the time limit ends the
    task, its message comes back. (A task that fails has kept its payload itself.)
    """

    def register(work: Callable[[Task[..., Any], Services, P], R]) -> Task[..., R]:
        @wraps(work)
        def run(self: Task[..., Any], /, *args: Any, **kwargs: Any) -> R:
            return handle(self, model, partial(work, self), args, kwargs)

        task: Task[..., R] = app.task(
            name=name,
            base=PublicTask,
            bind=True,
            ignore_result=False,
            acks_on_failure_or_timeout=not brings_news,
            # A refused payload is not our error.
            throws=(BadPayload,),
        )(run)
        return task

    return register


def handle(
    task: Task[..., Any],
    model: type[P],
    service: Callable[[Services, P], R],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> R:
    """Check the arguments and hand them to the service; a bad payload is kept as a dead letter, not retried.

    So is one on which the service fails unexpectedly: nobody else has a copy.
    """
    with bound_to(task):
        try:
            if (task.request.headers or {}).get(HAD_ETA):
                raise BadPayload("A countdown or ETA is not accepted: send the task when it is due.")
            payload = parse(model, args, kwargs)
        except BadPayload as error:
            _keep(task, str(error), args, kwargs)
            log.warning("payload.refused", reason=str(error))
            raise
        try:
            return service(services(), payload)
        except Exception as error:
            if why(error) is None:
                reason = f"It failed unexpectedly ({type(error).__name__})."
                _keep(task, reason, args, kwargs, failed=True)
            raise


def _keep(
    task: Task[..., Any],
    reason: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    failed: bool = False,
) -> None:
    """Keep the payload as a dead letter; if that fails, whatever it is, the message comes back.

    If there are too many letters it is dropped: a message that came back would come again and again.
    """
    try:
        services().dead_letters.keep(task.name, reason, args, kwargs, failed=failed)
    except Full:
        log.error("payload.dropped", reason=reason)
    except Exception as error:
        if why(error) is None:
            log.exception("payload.not_kept", reason=reason)
        raise _redelivery(error) from None


def _redelivery(error: Exception) -> Reject:
    # Wait first, or the message would loop without pause.
    time.sleep(REST_SECONDS)
    return Reject(type(error).__name__, requeue=True)


def delivered_again(task: Task[..., Any]) -> bool:
    """Whether the broker delivered this message before without an acknowledgement."""
    return bool((task.request.delivery_info or {}).get("redelivered"))


@contextmanager
def bound_to(task: Task[..., Any]) -> Iterator[None]:
    """Bind the task's name and id to every log line.

    While Redis is away or takes no writes, the message goes back to the broker, to be delivered again.
    """
    with structlog.contextvars.bound_contextvars(task=task.name, task_id=task.request.id):
        try:
            yield
        except (RedisError, OperationalError) as error:
            server = BROKER if isinstance(error, OperationalError) else LEDGER
            if not server.began(error):
                raise
            raise _redelivery(error) from None
        else:
            LEDGER.over()
