"""The command that lets vault keys go: reseal."""

from __future__ import annotations

import sys

import click

from worker.commands.console import progress
from worker.commands.output import json_text, say
from worker.commands.setup import connected
from worker.cronofy.callbacks import Callbacks
from worker.ledger.ledger import Ledger
from worker.ledger.lookup import SCANNED_AT_A_TIME
from worker.ledger.opening import open_ledger
from worker.ledger.reseal import Sealed, SealedKind
from worker.ledger.reseal import reseal as reseal_all
from worker.wording import amount


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def reseal(as_json: bool) -> None:
    """Seal everything stored encrypted with the newest vault key, so that older ones may go.

    Safe beside a running fleet, and may be ended and repeated at any time. Exits with 1 if anything is left.
    """
    with connected() as (settings, redis), progress("Resealing, {task.fields[seen]:,} values") as bar:
        ledger = open_ledger(settings, redis)
        channels = 0
        callbacks = Callbacks(settings.webhook_url, ledger.vault) if settings.webhook_url else None
        task = bar.add_task("", total=redis.dbsize(), seen=0)
        seen = 0

        def advance(step: list[Sealed]) -> None:
            nonlocal seen, channels
            seen += len(step)
            accounts = [each.name for each in step if each.kind is SealedKind.CREDENTIALS]
            if callbacks:
                channels += sum(_moves(ledger, callbacks, sub) for sub in accounts)
            bar.update(task, advance=SCANNED_AT_A_TIME, seen=seen)

        done = reseal_all(ledger, settings.lease, advance)
    shut, busy = done.pop("shut", 0), done.pop("busy", 0)
    counts = {kind.value: done[kind] for kind in SealedKind}
    counts |= {"channels": channels, "shut": shut, "busy": busy}
    if as_json:
        click.echo(json_text(counts, indent=2))
    else:
        say(f"{amount(done.total(), 'value')} of {seen:,} resealed.")
        if channels:
            say(f"{amount(channels, 'notification channel')} will move to a new address.")
    if shut:
        what = "is opened by no key" if shut == 1 else "are opened by no key"
        say(f"{shut:,} {what}: put that key back, or connect the accounts again.", err=True)
    if busy:
        say(f"{amount(busy, 'account')} could not be resealed yet: repeat the command.", err=True)
    if shut or busy:
        sys.exit(1)


def _moves(ledger: Ledger, callbacks: Callbacks, sub: str) -> bool:
    """Have the account's channel checked if an older key made its address; returns whether one did."""
    channel = ledger.account(sub).channel
    if channel is None or channel.channel_id is None or channel.callback_url == callbacks.of(sub):
        return False
    ledger.check_channel(sub)
    return True
