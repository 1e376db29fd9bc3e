"""The commands that keep running: the processes of a fleet."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import click
import structlog
from celery.bin.beat import beat as celerys_beat
from celery.bin.worker import worker as celerys_worker
from redis.exceptions import RedisError

from config.logging import configure_logging
from config.queues import Queues
from config.settings import Settings, load_settings, require_cronofy, require_outgoing
from worker.app import configure
from worker.bootstrap import bootstrap, refuse_cluster, weaknesses
from worker.broker.program import LAST_SECONDS
from worker.broker.served import check_unserved
from worker.commands.setup import check_layout, optional, settings_of_role
from worker.host import embedded
from worker.host.capacity import default_processes
from worker.host.supervisor import Crew
from worker.ledger.layout import layout_of
from worker.status.watch import watch

log = structlog.get_logger()

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


class _Passing(click.Command):
    """A command whose further arguments are for one of Celery's; so its help has the options of both."""

    def __init__(self, *args: Any, celerys: click.Command, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._celerys = celerys

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Ours, then Celery's."""
        super().format_options(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(f"Options of `celery {self._celerys.name}`, which are passed on:")
        self._celerys.format_options(click.Context(self._celerys, help_option_names=[]), formatter)


@contextmanager
def _settings_for_all() -> Iterator[tuple[Settings, dict[str, str]]]:
    """The settings of `up`, and the environment for its children."""
    settings = load_settings()
    if settings.redis_url is not None:
        yield settings, {}
        return
    require_cronofy(settings)
    with embedded.embedded_server(settings.data_dir) as url:
        settings = embedded.with_embedded_keys(settings.model_copy(update={"redis_url": url}))
        keys = ",".join(key.get_secret_value() for key in settings.vault_keys)
        yield settings, {"RECONCILER_REDIS_URL": url, "RECONCILER_VAULT_KEYS": keys}


def _check(settings: Settings) -> None:
    """Fail early on bad settings, a newer ledger or a Redis Cluster; an unfit Redis is a warning."""
    configure_logging(settings)
    refuse_cluster(settings)
    services = bootstrap(settings)
    try:
        layout_of(services.ledger.redis, services.ledger.keys)
        for weakness in weaknesses(services.ledger.redis):
            log.warning("redis.unfit", reason=weakness)
    except RedisError as error:
        # It may come up later: workers wait for it.
        log.warning("redis.unreachable", reason=type(error).__name__)
    finally:
        services.close()
    check_unserved(settings)


@click.command()
def up() -> None:
    """Run worker and beat, with an embedded Redis if no URL is set."""
    # Until the processes run: a server with much to load takes its time.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _settings_for_all() as (settings, environment):
        _check(settings)
        require_outgoing(settings)
        patience = settings.task_time_limit + timedelta(seconds=LAST_SECONDS + 3)
        Crew({"worker": ["worker"], "beat": ["beat"]}, environment, patience).run()


@click.command(cls=_Passing, celerys=celerys_worker, context_settings=PASS_ON)
@click.pass_context
def worker(context: click.Context) -> None:
    """Run a worker. Other arguments go to Celery: -Q reconciler.mail, --concurrency 8, …

    Without --concurrency it has four to eight processes, within the cores and the memory of its container.
    """
    settings = settings_of_role()
    _check(settings)
    if Queues.of(settings.key_prefix).mail in _queues(settings, context.args):
        require_outgoing(settings)
    app = configure(settings)
    app.watch = watch(settings)
    # Quiet, since its banner does not belong in a log, and `worker.ready` says the same.
    argv = ["--quiet", "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    argv += ["--loglevel", settings.log_level, "--concurrency", str(default_processes())]
    argv += ["-n", f"reconciler-{os.getpid()}@%h", "-Q", ",".join(Queues.of(settings.key_prefix))]
    app.worker_main([*argv, *context.args])


def _queues(settings: Settings, args: Sequence[str]) -> Sequence[str]:
    """The queues that these arguments of Celery's name, by default all of ours."""
    named = None
    for place, argument in enumerate(args):
        if argument in {"-Q", "--queues"}:
            named = "".join(args[place + 1 : place + 2])
        elif argument.startswith(("-Q", "--queues=")):
            named = argument.removeprefix("-Q").removeprefix("--queues=")
    return Queues.of(settings.key_prefix) if named is None else named.split(",")


@click.command(cls=_Passing, celerys=celerys_beat, context_settings=PASS_ON)
@click.pass_context
def beat(context: click.Context) -> None:
    """Run beat, which starts a sweep every RECONCILER_SWEEP_EVERY; several beats do no harm."""
    settings = settings_of_role()
    refuse_cluster(settings)
    check_layout(settings)
    app = configure(settings)
    app.watch = watch(settings)
    app.start(["--quiet", "beat", "--loglevel", settings.log_level, "--pidfile", "", *context.args])


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8000, show_default=True, help="The port; 0 picks a free one.")
def serve(host: str, port: int) -> None:
    """Serve the board, the webhook for Cronofy's notifications, the metrics and the probes."""
    settings = settings_of_role()
    refuse_cluster(settings)
    check_layout(settings)
    optional("worker.web.server", "web").run(settings, host, port)
