"""The commands by which an operator steers a fleet."""

from __future__ import annotations

import click

from worker.commands.setup import settings_of_role


@click.command()
def pause() -> None:
    """Stop every call to Cronofy and every email, over the whole fleet; intake goes on, nothing is lost."""
    _set_paused(True)
    click.echo("Paused: no call to Cronofy and no email until `reconciler resume`.")


@click.command()
def resume() -> None:
    """End a pause: what fell due meanwhile is looked at, the soonest meeting first."""
    _set_paused(False)
    click.echo("Resumed.")


def _set_paused(paused: bool) -> None:
    from worker.bootstrap import open_ledger  # noqa: PLC0415

    ledger = open_ledger(settings_of_role())
    try:
        ledger.set_paused(paused)
    finally:
        ledger.redis.close()
