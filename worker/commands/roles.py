"""The commands that keep running: the processes of a fleet, the sandbox and the demo."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from config.celery import Queues
from config.settings import Settings, require_outgoing
from worker.app import configure
from worker.bootstrap import refuse_cluster
from worker.broker.program import LAST_SECONDS
from worker.commands.setup import check, check_layout, optional, settings_for_all, settings_of_role
from worker.host.capacity import default_processes
from worker.host.supervisor import Crew

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"]}


@click.command(short_help="Run worker and beat, with an embedded Redis if none is set.")
def up() -> None:
    """Run worker and beat, with an embedded Redis if no URL is set."""
    # Until the processes run: a server with much to load takes its time.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with settings_for_all() as (settings, environment):
        check(settings)
        require_outgoing(settings)
        patience = settings.task_time_limit + timedelta(seconds=LAST_SECONDS + 3)
        Crew({"worker": ["worker"], "beat": ["beat"]}, environment, patience).run()


@click.command(context_settings=PASS_ON, short_help="Run a worker of a fleet.")
@click.pass_context
def worker(context: click.Context) -> None:
    """Run a worker. Other arguments go to Celery: -Q reconciler.mail, --concurrency 8, …

    Without --concurrency it has four to eight processes, within the cores and the memory of its container.
    """
    settings = settings_of_role()
    check(settings)
    if Queues.of(settings.key_prefix).mail in _queues(settings, context.args):
        require_outgoing(settings)
    app = configure(settings)
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


@click.command(context_settings=PASS_ON, short_help="Run beat, which starts the sweeps.")
@click.pass_context
def beat(context: click.Context) -> None:
    """Run beat, which starts a sweep every RECONCILER_SWEEP_EVERY; several beats do no harm."""
    settings = settings_of_role()
    refuse_cluster(settings)
    check_layout(settings)
    app = configure(settings)
    app.start(["--quiet", "beat", "--loglevel", settings.log_level, "--pidfile", "", *context.args])


@click.command(short_help="Serve the board, the webhook, metrics and probes.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8000, show_default=True, help="The port; 0 picks a free one.")
def serve(host: str, port: int) -> None:
    """Serve the board, the webhook for Cronofy's notifications, the metrics and the probes."""
    settings = settings_of_role()
    refuse_cluster(settings)
    check_layout(settings)
    optional("worker.web.server", "web").run(settings, host, port)


@click.command(short_help="Run the stand-in for Cronofy, with its mailbox.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8080, show_default=True, help="The API's port.")
@click.option("--smtp-port", default=8025, show_default=True, help="The mailbox's port.")
@click.option("--client-id", default="sandbox", show_default=True)
@click.option(
    "--client-secret", "client_secrets", multiple=True, default=["sandbox-secret"], show_default=True
)
@click.option("--per-second", default=50, show_default=True, help="Requests per second; 0 for no limit.")
@click.option("--per-minute", default=500, show_default=True, help="Requests per minute; 0 for no limit.")
@click.option("--speed", default=1.0, show_default=True, help="How much faster conferencing is created.")
@click.option("--public-url", default="", help="What its links start with, if not its own address.")
@click.option(
    "--mail-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep emails as files here."
)
@click.option(
    "--personality",
    "choices",
    multiple=True,
    metavar="NAME=VALUE",
    help="How to behave where Cronofy's documentation is silent; may be repeated.",
)
@click.option("--traits", is_flag=True, help="List the names and values for --personality, and end.")
def sandbox(
    host: str, port: int, smtp_port: int, choices: Sequence[str], traits: bool, **options: Any
) -> None:
    """Run the stand-in for Cronofy and its mailbox, for anyone who builds against Cronofy.

    Its address takes the place of https://api.cronofy.com and https://app.cronofy.com. What a person or
    Cronofy would do is done under /sandbox:

    \b
      curl -d '{"email": "dana@example.org"}' localhost:8080/sandbox/accounts
      curl -X POST localhost:8080/sandbox/accounts/SUB/conferencing_profiles
      curl -X POST localhost:8080/sandbox/accounts/SUB/profiles/ID/disconnect
      curl -d '{"kind": "status", "status": 503, "times": 2}' localhost:8080/sandbox/faults
      curl -d '{"seconds": 3600}' localhost:8080/sandbox/clock
      curl -d '{"omitted_fields": "cleared"}' localhost:8080/sandbox/personality
      curl localhost:8080/sandbox/notifications

    Emails sent to its SMTP port are on the page /mail. The whole manual is docs/sandbox.md.
    """
    server = optional("sandbox.server", "sandbox")
    if traits:
        click.echo(server.described_traits())
        return
    try:
        personality = server.personality_of(choices)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--personality") from None
    server.run(host, port, smtp_port, server.SandboxOptions(personality=personality, **options))


@click.command(short_help="Show the whole system at work on this machine.")
@click.option("--speed", default=1.0, show_default=True, help="How much faster than usual things happen.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, and print where.")
def demo(speed: float, keep: bool) -> None:
    """Show the whole system at work on this machine, with at least one event for every cause."""
    sys.exit(optional("sandbox.demo.show", "sandbox").run(speed=speed, keep=keep))
