"""The commands about lists of events: list, acknowledge."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from config.terminal import shown
from worker.commands.output import json_text, say
from worker.commands.setup import ledger_of_command, user_of_machine
from worker.diagnosis.cause_table import UNSEEN
from worker.diagnosis.model import Cause
from worker.intake import acknowledge as acknowledging
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Listed, Wanted
from worker.ledger.paging import BadCursor
from worker.ledger.records import EventKey, from_ms
from worker.wording import amount, second

F = TypeVar("F", bound=Callable[..., Any])


class _Moment(click.ParamType[str]):
    """A time, or a duration from now on."""

    name = "time or duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            acknowledging.moment(value, datetime.now(UTC))
        except ValueError as error:
            self.fail(f"It {error}.", param, ctx)
        return str(value)


MOMENT = _Moment()


def _conditions(command: F) -> F:
    """The options that say which events."""
    for option in reversed(
        [
            click.option("--cause", type=click.Choice([cause.value for cause in Cause]), help="Why."),
            click.option("--escalated", is_flag=True, help="A person was told, and nobody acknowledged it."),
            click.option("--acknowledged", is_flag=True, help="Somebody acknowledged it."),
            click.option("--account", metavar="SUB", help="Of this account."),
            click.option("--provider", metavar="NAME", help="Of this conferencing service, such as zoom."),
            click.option("--incident", metavar="ID", help="Of this incident (`reconciler incidents`)."),
            click.option("--starts-before", type=MOMENT, help="That start before then."),
        ]
    ):
        command = option(command)
    return command


def _wanted(ledger: Ledger, conditions: dict[str, Any]) -> Wanted:
    cause, before = conditions["cause"], conditions["starts_before"]
    moment = acknowledging.moment(before, ledger.now()) if before else None
    return Wanted(**{**conditions, "cause": Cause(cause) if cause else None, "starts_before": moment})


@click.command("list")
@_conditions
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many at most."
)
@click.option("--after", metavar="CURSOR", help="Go on where an earlier page ended.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_events(limit: int, after: str | None, as_json: bool, **conditions: Any) -> None:
    """List pending events that fit all conditions, the soonest start first. Changes nothing."""
    with ledger_of_command() as ledger:
        try:
            page = ledger.lists.page(_wanted(ledger, conditions), limit, after)
        except BadCursor as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        events = [listed.as_json for listed in page.events]
        click.echo(json_text({"events": events, "next": page.after}, indent=2))
        return
    console = Console()
    for listed in page.events:
        for row in _rows(listed):
            console.print(row, soft_wrap=True)
    if not page.events:
        say("None." if page.after is None else "None so far.")
    if page.after is not None:
        say(f"There may be more: add --after {page.after}", err=True)


def _rows(listed: Listed) -> Iterator[Text]:
    event, given = listed.event, listed.acknowledged
    start = f"{second(event.starts_at)} UTC" if event.starts_at else "unknown start"
    words = [event.cause.value if event.cause else UNSEEN, *([event.provider] if event.provider else [])]
    if event.parked:
        words.append("parked")
    if given:
        until = f" until {second(from_ms(given.until))} UTC" if given.until is not None else ""
        words.append(f"acknowledged {given.text}{until}")
    elif event.escalated:
        words.append("escalated")
    yield Text(shown(f"{start:<24}{', '.join(words)}"))
    key = event.key
    yield Text(f"  {shown(shlex.join((listed.sub, key.calendar_id, key.event_id)))}", style="dim")


@click.command()
@click.argument("ids", metavar="[SUB CALENDAR EVENT]", nargs=-1)
@_conditions
@click.option("--note", default="", help="Why, for others to read.")
@click.option("--until", type=MOMENT, help="When it ends, if not with the cause.")
@click.option("--by", default=None, help="Who; by default the user of this machine.")
@click.option("--withdraw", is_flag=True, help="Take it back.")
def acknowledge(
    ids: tuple[str, ...], note: str, until: str | None, by: str | None, withdraw: bool, **conditions: Any
) -> None:
    """Answer for one event, or for all that `list` shows with the same conditions.

    While its cause lasts, or until the given end, nobody is told of an acknowledged event again. Looks go on.
    """
    if len(ids) not in (0, 3):
        raise click.UsageError("Give SUB, CALENDAR and EVENT, or conditions as for `list`.")
    if bool(ids) == any(conditions.values()):
        raise click.UsageError("Give either one event or conditions as for `list`.")

    def change(ledger: Ledger, sub: str, key: EventKey) -> bool:
        if withdraw:
            return acknowledging.withdraw(ledger, sub, key)
        return acknowledging.acknowledge(ledger, sub, key, note, until, by or user_of_machine())

    with ledger_of_command() as ledger:
        if not ids:
            found = acknowledging.all_of(ledger, _wanted(ledger, conditions))
            done = sum(change(ledger, each.sub, each.event.key) for each in found)
            if conditions["incident"] and not withdraw:
                acknowledging.tell_done(ledger, conditions["incident"], by or user_of_machine(), done, note)
            say(f"{amount(done, 'event')} {'withdrawn' if withdraw else 'acknowledged'}.")
            return
        sub, calendar, event = ids
        name = f"The event {event} in calendar {calendar} of {sub}"
        if change(ledger, sub, EventKey(calendar, event)):
            say(f"{name} is {'no longer ' if withdraw else ''}acknowledged.")
            return
        say(f"{name} is not {'acknowledged' if withdraw else 'pending'}.", err=True)
        sys.exit(1)
