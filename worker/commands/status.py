"""The command that shows the state of the fleet."""

from __future__ import annotations

import click
from rich.console import Console

from worker.commands.output import json_text
from worker.commands.setup import settings_of_command
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.status.snapshot import Status, read_status
from worker.status.table import status_json, status_table
from worker.status.table import watch as watch_status


@click.command()
@click.option("--watch", is_flag=True, help="Refresh every two seconds; q or Ctrl-C to quit.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(watch: bool, as_json: bool) -> None:
    """Show the backlog by cause, what starts next, the budget, queues and workers. Changes nothing."""
    console = Console()
    if watch and as_json:
        raise click.UsageError("--watch and --json cannot be combined.")
    if watch and not console.is_terminal:
        raise click.UsageError("--watch needs a terminal.")
    settings = settings_of_command()

    def read() -> Status:
        return read_status(redis, settings)

    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        if as_json:
            click.echo(json_text(status_json(read()), indent=2))
        elif watch:
            watch_status(read, settings.sweep_every, console)
        else:
            console.print(status_table(read(), settings.sweep_every), highlight=False)
