"""The command by which somebody answers for events."""

from __future__ import annotations

import sys
from typing import Any

import click

from worker.commands.ledger import ledger_of_command
from worker.commands.listing import conditions, moment_option, wanted
from worker.commands.output import say
from worker.commands.setup import user_of_machine
from worker.intake import acknowledge as acknowledging
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey
from worker.wording import amount


@click.command()
@click.argument("ids", metavar="[SUB CALENDAR EVENT]", nargs=-1)
@conditions
@click.option("--note", default="", help="Why, for others to read.")
@moment_option("--until", "When it ends, if not with the cause.")
@click.option("--by", default=None, help="Who; by default the user of this machine.")
@click.option("--withdraw", is_flag=True, help="Take it back.")
def acknowledge(
    ids: tuple[str, ...], note: str, until: str | None, by: str | None, withdraw: bool, **given: Any
) -> None:
    """Answer for one event, or for all that `list` shows with the same conditions.

    While its cause lasts, or until the given end, nobody is told of an acknowledged event again. Looks go on.
    """
    if len(ids) not in (0, 3):
        raise click.UsageError("Give SUB, CALENDAR and EVENT, or conditions as for `list`.")
    if bool(ids) == any(given.values()):
        raise click.UsageError("Give either one event or conditions as for `list`.")

    def change(ledger: Ledger, sub: str, key: EventKey) -> bool:
        if withdraw:
            return acknowledging.withdraw(ledger, sub, key)
        return acknowledging.acknowledge(ledger, sub, key, note, until, by or user_of_machine())

    with ledger_of_command() as ledger:
        if not ids:
            found = acknowledging.all_of(ledger, wanted(given, ledger.now()))
            done = sum(change(ledger, each.sub, each.event.key) for each in found)
            if given["incident"] and not withdraw:
                acknowledging.tell_done(ledger, given["incident"], by or user_of_machine(), done, note)
            say(f"{amount(done, 'event')} {'withdrawn' if withdraw else 'acknowledged'}.")
            return
        sub, calendar, event = ids
        name = f"The event {event} in calendar {calendar} of {sub}"
        if change(ledger, sub, EventKey(calendar, event)):
            say(f"{name} is {'no longer ' if withdraw else ''}acknowledged.")
            return
        say(f"{name} is not {'acknowledged' if withdraw else 'pending'}.", err=True)
        sys.exit(1)
