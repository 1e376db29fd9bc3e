"""The commands of ``reconciler`` (contract §5). Exit codes: 0 done, 1 it failed, 2 wrong usage."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import structlog
from redis.exceptions import RedisError
from rich.console import Console

from config.celery import QUEUES
from config.logging import configure_logging
from config.settings import Settings, SettingsError, load_settings, require_cronofy
from worker import embedded

#: Fewer would let one long batch keep urgent questions waiting; a process that waits costs no CPU.
LEAST_PROCESSES = 4

log = structlog.get_logger()

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"]}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="conferencing-reconciler")
def cli() -> None:
    """Notices calendar events whose conference never came, finds out why, and mends what can be mended.

    Settings are environment variables that begin with RECONCILER_, or a .env file: see .env.example.
    """


def main() -> None:
    """The console script."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except SettingsError as error:
        click.echo(f"reconciler: {error}", err=True)
        sys.exit(1)
    except RedisError as error:
        click.echo(f"reconciler: Redis cannot be used ({type(error).__name__}): {error}", err=True)
        sys.exit(1)


@cli.command()
def up() -> None:
    """Run worker and beat for real, with an embedded Redis where no URL is set."""
    from worker.process import Crew  # noqa: PLC0415

    with _settings_for_all() as (settings, environment):
        _check(settings)
        patience = settings.task_time_limit + timedelta(seconds=5)
        Crew({"worker": ["worker"], "beat": ["beat"]}, environment, patience).run()


@cli.command(context_settings=PASS_ON, add_help_option=True)
@click.pass_context
def worker(context: click.Context) -> None:
    """Run a worker. Further arguments go to Celery: -Q reconciler.mail, --concurrency 8, …"""
    from worker.app import configure  # noqa: PLC0415

    settings = _settings_of_role()
    _check(settings)
    app = configure(settings)
    processes = max(LEAST_PROCESSES, os.cpu_count() or 1)
    argv = ["worker", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    argv += ["--loglevel", settings.log_level, "--concurrency", str(processes)]
    argv += ["-n", f"reconciler-{os.getpid()}@%h", "-Q", ",".join(QUEUES)]
    app.worker_main([*argv, *context.args])


@cli.command(context_settings=PASS_ON, add_help_option=True)
@click.pass_context
def beat(context: click.Context) -> None:
    """Run beat, which starts a sweep every RECONCILER_SWEEP_EVERY. Any number of beats is safe."""
    from worker.app import configure  # noqa: PLC0415

    settings = _settings_of_role()
    app = configure(settings)
    app.start(["beat", "--loglevel", settings.log_level, "--pidfile", "", *context.args])


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def track(file: Path) -> None:
    """Track many events: FILE holds one {"sub", "calendar_id", "event"} a line, as JSON.

    Bad lines are named by their number and left out; the rest is imported.
    """
    from worker.bulk import import_lines  # noqa: PLC0415

    settings = _settings_of_role()
    imported, refused = import_lines(settings, file, Console(stderr=True))
    click.echo(f"{imported} imported, {refused} refused")
    if refused:
        sys.exit(1)


@cli.command()
@click.argument("sub")
@click.argument("calendar")
@click.argument("event")
@click.option("--offline", is_flag=True, help="Answer from the ledger, without asking Cronofy.")
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
def explain(sub: str, calendar: str, event: str, offline: bool, as_json: bool) -> None:
    """Why the event has no conferencing yet, the evidence, and what happens next. Changes nothing."""
    from worker.explanation import explanation  # noqa: PLC0415

    settings = _settings_of_role()
    found = explanation(settings, sub, calendar, event, live=not offline)
    if found is None:
        click.echo(f"The event {event} in calendar {calendar} of {sub} is not tracked.", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(found.answer, ensure_ascii=False, indent=2))
    else:
        found.show(Console())


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8080, show_default=True, help="The API's port.")
@click.option("--smtp-port", default=8025, show_default=True, help="The mailbox's port.")
@click.option("--client-id", default="sandbox", show_default=True)
@click.option(
    "--client-secret", "client_secrets", multiple=True, default=["sandbox-secret"], show_default=True
)
@click.option("--per-second", default=50, show_default=True, help="Requests a second; 0 for no limit.")
@click.option("--per-minute", default=500, show_default=True, help="Requests a minute; 0 for no limit.")
@click.option("--speed", default=1.0, show_default=True, help="How much faster conferencing is made.")
@click.option("--public-url", default="", help="What its links begin with, if not its own address.")
@click.option(
    "--mail-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep mails as files here."
)
def sandbox(host: str, port: int, smtp_port: int, **options: Any) -> None:
    """Run the Cronofy stand-in and its mailbox, for anyone who builds against Cronofy."""
    server = _optional("sandbox.server", "sandbox")
    server.run(host, port, smtp_port, server.SandboxOptions(**options))


@cli.command()
@click.option("--speed", default=1.0, show_default=True, help="How much faster than usual things happen.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, and say where it is.")
def demo(speed: float, keep: bool) -> None:
    """Show the whole system on this machine: a cast of events, at least one for every cause."""
    sys.exit(_optional("sandbox.demo", "sandbox").run(speed=speed, keep=keep))


def _optional(module: str, extra: str) -> Any:
    """A module that only these commands need; nothing else imports it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"This command needs {error.name}: install conferencing-reconciler[{extra}]."
        ) from None


def _settings_of_role() -> Settings:
    """The settings of one process of a fleet, or of one that `up` started: never starts a server."""
    settings = load_settings()
    if settings.redis_url is not None:
        return settings
    url = embedded.running_url(settings.data_dir)
    if url is None:
        raise SettingsError(
            "RECONCILER_REDIS_URL is not set and no embedded server is running in "
            f"{settings.data_dir}: set it, or start one with `reconciler up`."
        )
    return embedded.with_embedded_keys(settings.model_copy(update={"redis_url": url}))


@contextmanager
def _settings_for_all() -> Iterator[tuple[Settings, dict[str, str]]]:
    """The settings of `up`, with what its children need of them in their environment."""
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
    """What must be there before anything is started; a Redis that is unfit is only named."""
    from worker.bootstrap import bootstrap, weaknesses  # noqa: PLC0415

    configure_logging(settings)
    services = bootstrap(settings)
    try:
        for weakness in weaknesses(services.ledger.redis):
            log.warning("redis.unfit", reason=weakness)
    except RedisError as error:
        # It may come; workers wait for it.
        log.warning("redis.unreachable", reason=type(error).__name__)
    finally:
        services.close()


if __name__ == "__main__":
    main()
