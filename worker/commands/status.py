"""The command that shows the state of the fleet."""

from __future__ import annotations

import sys

import click

from worker.commands.output import json_text, say_wrapped
from worker.commands.setup import connected
from worker.status.snapshot import read_status
from worker.status.table import status_json, status_lines


@click.command()
@click.option("--watch", is_flag=True, help="Refresh every two seconds; q or Ctrl-C to quit.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(watch: bool, as_json: bool) -> None:
    """Show the backlog by cause, what starts next, the budget, queues and workers. Changes nothing."""
    if watch and as_json:
        raise click.UsageError("--watch and --json cannot be combined.")
    if watch and not sys.stdout.isatty():
        raise click.UsageError("--watch needs a terminal.")
    with connected() as (settings, redis):
        if as_json:
            click.echo(json_text(status_json(read_status(redis, settings)), indent=2))
        elif watch:
            from worker.status import watching  # noqa: PLC0415 - rich takes long to import

            watching.watch(lambda: read_status(redis, settings))
        else:
            for line in status_lines(read_status(redis, settings)):
                say_wrapped(line)
