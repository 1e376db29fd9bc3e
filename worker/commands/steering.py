"""The commands with which an operator pauses and resumes a fleet."""

from __future__ import annotations

import click

from worker.bootstrap import keyless_ledger
from worker.commands.output import say
from worker.commands.setup import settings_of_command
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once


@click.command(short_help="Stop every call to Cronofy and every email, fleet-wide.")
def pause() -> None:
    """Stop every call to Cronofy and every email, fleet-wide; intake continues, and nothing is lost."""
    _set_paused(True)
    say("Paused: no calls to Cronofy and no emails until `reconciler resume`.")


@click.command(short_help="End a pause.")
def resume() -> None:
    """End a pause: overdue accounts are looked at, the soonest meeting first."""
    _set_paused(False)
    say("Resumed.")


def _set_paused(paused: bool) -> None:
    settings = settings_of_command()
    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        keyless_ledger(redis, settings).set_paused(paused)
