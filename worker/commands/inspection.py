"""The commands that only look: how the fleet is, and what is wrong with it."""

from __future__ import annotations

import json
from datetime import timedelta

import click

from worker.commands.setup import settings_of_role

#: How long a person waits for a Redis that does not answer.
PATIENCE = timedelta(seconds=5)


@click.command()
@click.option("--watch", is_flag=True, help="Show it anew every two seconds; q or Ctrl-C ends.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(watch: bool, as_json: bool) -> None:
    """The backlog by cause, what starts next, the budget, queues and workers. Changes nothing."""
    from rich.console import Console  # noqa: PLC0415

    from worker.ledger.connection import connect_once  # noqa: PLC0415
    from worker.operations.status import Status, read_status  # noqa: PLC0415
    from worker.operations.status_table import status_table  # noqa: PLC0415
    from worker.operations.status_table import watch as watch_status  # noqa: PLC0415

    console = Console()
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other.")
    if watch and not console.is_terminal:
        raise click.UsageError("--watch needs a terminal.")
    settings = settings_of_role()

    def read() -> Status:
        return read_status(redis, settings)

    with connect_once(settings.redis_url or "", PATIENCE) as redis:
        if as_json:
            click.echo(json.dumps(read().as_json, ensure_ascii=False, indent=2))
        elif watch:
            watch_status(read, settings.sweep_every, console)
        else:
            console.print(status_table(read(), settings.sweep_every), highlight=False)
