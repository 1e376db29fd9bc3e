"""The command about one event: explain."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from worker.commands.output import json_text, say, suggest
from worker.commands.setup import settings_of_command
from worker.explain.case import Case
from worker.explain.explanation import ask, show, show_former
from worker.ledger.records import EventKey
from worker.wording import second


@click.command()
@click.argument("sub")
@click.argument("calendar")
@click.argument("event")
@click.option("--offline", is_flag=True, help="Answer from the ledger alone, without asking Cronofy.")
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
def explain(sub: str, calendar: str, event: str, offline: bool, as_json: bool) -> None:
    """Say why the event has no conferencing yet, the evidence, and what happens next. Changes nothing."""
    found = ask(settings_of_command(), sub, EventKey(calendar, event), live=not offline)
    if not isinstance(found, Case):
        say(f"The event {event} in calendar {calendar} of {sub} is not tracked.", err=True)
        if found.former:
            say(f"It was, until it was untracked at {second(found.former.at)} UTC.", err=True)
        suggest(found.near)
        if found.former and not as_json:
            show_former(found.former, Console(stderr=True))
        sys.exit(1)
    if as_json:
        click.echo(json_text(found.answer, indent=2))
    else:
        show(found, Console())
