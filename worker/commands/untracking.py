"""The command that stops tracking an event."""

from __future__ import annotations

import sys

import click

from worker.commands.ledger import ledger_of_command
from worker.commands.output import say, say_not_tracked, suggest_events
from worker.explain.suggestions import nearest
from worker.ledger.records import EventKey


@click.command()
@click.argument("sub")
@click.argument("calendar")
@click.argument("event")
def untrack(sub: str, calendar: str, event: str) -> None:
    """Stop tracking one event. Nothing changes at Cronofy."""
    key = EventKey(calendar, event)
    with ledger_of_command() as ledger:
        if ledger.untrack(sub, key):
            say(f"The event {event} in calendar {calendar} of {sub} is no longer tracked.")
            return
        say_not_tracked(sub, calendar, event)
        suggest_events("untrack", nearest(ledger, sub, key))
        sys.exit(1)
