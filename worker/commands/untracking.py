"""The command that stops tracking an event."""

from __future__ import annotations

import sys

import click

from worker.commands.output import say, suggest_events
from worker.commands.setup import settings_of_command
from worker.explain.suggestions import nearest
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.opening import keyless_ledger
from worker.ledger.records import EventKey


@click.command()
@click.argument("sub")
@click.argument("calendar")
@click.argument("event")
def untrack(sub: str, calendar: str, event: str) -> None:
    """Stop tracking one event. Nothing changes at Cronofy."""
    key, settings = EventKey(calendar, event), settings_of_command()
    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        ledger = keyless_ledger(redis, settings)
        if ledger.untrack(sub, key):
            say(f"The event {event} in calendar {calendar} of {sub} is no longer tracked.")
            return
        say(f"The event {event} in calendar {calendar} of {sub} is not tracked.", err=True)
        suggest_events("untrack", nearest(ledger, sub, key))
        sys.exit(1)
