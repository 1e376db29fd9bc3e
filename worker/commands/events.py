"""The commands about single events and accounts: import, explain."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from worker.commands.setup import settings_of_role


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def track(file: Path) -> None:
    """Track many events: FILE holds one {"sub", "calendar_id", "event"} a line, as JSON.

    Bad lines are named by their number and left out; the rest is imported.
    """
    from worker.operations.bulk import import_lines  # noqa: PLC0415

    settings = settings_of_role()
    imported, refused = import_lines(settings, file, Console(stderr=True))
    click.echo(f"{imported} imported, {refused} refused")
    if refused:
        sys.exit(1)


@click.command()
@click.argument("sub")
@click.argument("calendar")
@click.argument("event")
@click.option("--offline", is_flag=True, help="Answer from the ledger, without asking Cronofy.")
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
def explain(sub: str, calendar: str, event: str, offline: bool, as_json: bool) -> None:
    """Why the event has no conferencing yet, the evidence, and what happens next. Changes nothing."""
    from worker.operations.explanation import explanation  # noqa: PLC0415

    settings = settings_of_role()
    found = explanation(settings, sub, calendar, event, live=not offline)
    if found is None:
        click.echo(f"The event {event} in calendar {calendar} of {sub} is not tracked.", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(found.answer, ensure_ascii=False, indent=2))
    else:
        found.show(Console())
