"""The commands with which an operator pauses and resumes a fleet."""

from __future__ import annotations

import click

from worker.commands.output import say
from worker.commands.setup import ledger_of_command


@click.command()
def pause() -> None:
    """Stop every call to Cronofy and every email, fleet-wide; intake continues, and nothing is lost."""
    _set_paused(True)
    say("Paused: no calls to Cronofy and no emails until `reconciler resume`.")


@click.command()
def resume() -> None:
    """End a pause: overdue accounts are looked at, the soonest meeting first."""
    _set_paused(False)
    say("Resumed.")


def _set_paused(paused: bool) -> None:
    with ledger_of_command() as ledger:
        ledger.set_paused(paused)
