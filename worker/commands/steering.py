"""The commands with which an operator pauses and resumes a fleet."""

from __future__ import annotations

import click

from worker.commands.ledger import ledger_of_command
from worker.commands.output import say


@click.command()
def pause() -> None:
    """Stop every call to Cronofy and every email, fleet-wide; intake continues, and nothing is lost."""
    with ledger_of_command() as ledger:
        ledger.set_paused(True)
    say("Paused: no calls to Cronofy and no emails until `reconciler resume`.")


@click.command()
def resume() -> None:
    """End a pause: overdue accounts are looked at, the soonest meeting first."""
    with ledger_of_command() as ledger:
        ledger.set_paused(False)
    say("Resumed.")
