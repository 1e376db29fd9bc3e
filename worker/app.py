"""The Celery application, and the services of each process."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from functools import cached_property
from typing import Any

import structlog
from celery import Celery
from celery.signals import (
    beat_init,
    setup_logging,
    worker_before_create_process,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
)

from config import tracing
from config.celery import celery_config
from config.logging import configure_logging
from config.settings import Settings, load_settings
from worker.bootstrap import Services, bootstrap
from worker.broker.redis_transport import install
from worker.host.supervisor import is_ignored

log = structlog.get_logger()


class Application(Celery):
    """Celery's application, with our settings."""

    settings: Settings | None = None
    #: Called every ten seconds by a worker and by beat.
    watch: Callable[[], None] | None = None

    @cached_property
    def Worker(self) -> Any:
        """The class of a worker."""
        return self.subclass_with_self("worker.broker.program:Worker")  # type: ignore[arg-type]


app = Application(
    "conferencing",
    set_as_current=True,
    amqp="worker.broker.publishing:AMQP",
    loader="worker.broker.loader:Loader",
)


class _Process:
    """What this process has set up; a forked child must set up its own."""

    services: Services | None = None
    owner: int | None = None
    #: The process that forked this one; None if none did.
    parent: int | None = None


def configure(settings: Settings) -> Application:
    """Give the application its settings, once, before it is used."""
    app.settings = settings
    install()
    app.conf.update(celery_config(settings))
    return app


def current_settings() -> Settings:
    """The application's settings, by default from the environment."""
    if app.settings is None:
        configure(load_settings())
    assert app.settings is not None  # noqa: S101
    return app.settings


def services() -> Services:
    """This process's services: connections are never shared across a fork."""
    if _Process.services is None or _Process.owner != os.getpid():
        _Process.services = bootstrap(current_settings())
        _Process.owner = os.getpid()
    return _Process.services


@setup_logging.connect
def _logging(**_: Any) -> None:
    """Stop Celery from configuring logging itself, as it would in every process."""
    configure_logging(current_settings())


@worker_ready.connect
def _ready(sender: Any = None, **_: Any) -> None:
    queues = sorted(queue.name for queue in app.amqp.queues.consume_from.values())
    log.info("worker.ready", worker=sender.hostname, processes=sender.controller.concurrency, queues=queues)


@beat_init.connect
def _beating(**_: Any) -> None:
    if not is_ignored(signal.SIGHUP):
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    log.info("beat.ready", sweep_every=current_settings().sweep_every.total_seconds())


@worker_init.connect
def _before_forks(**_: Any) -> None:
    tracing.prepare()


@worker_before_create_process.connect
def _at_fork(**_: Any) -> None:
    """Leave what is there out of garbage collection, which would write to it and so copy it in each child."""
    gc.collect()
    gc.freeze()
    _Process.parent = os.getpid()


@worker_process_init.connect
def _after_fork(**_: Any) -> None:
    if _Process.parent not in (None, os.getppid()):
        # It was killed before Celery asked Linux to kill this one with it.
        os._exit(1)
    # A closed terminal reaches every process of its group, but the pool is to finish its tasks.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    tracing.start(current_settings())


@worker_process_shutdown.connect
def _shutdown(**_: Any) -> None:
    tracing.stop()
    if _Process.services is not None and _Process.owner == os.getpid():
        _Process.services.close()
