"""The command that lists events, and the conditions that say which."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from config.terminal import Line, shown
from worker.commands.output import json_text, say, say_styled
from worker.commands.setup import connected
from worker.diagnosis.cause_table import UNSEEN
from worker.diagnosis.model import Cause
from worker.ledger.connection import server_time
from worker.ledger.keys import Keys, Scripts
from worker.ledger.lists import Listed, Lists, Wanted
from worker.ledger.paging import BadCursor
from worker.ledger.records import from_ms
from worker.wording import moment, utc

F = TypeVar("F", bound=Callable[..., Any])


def moment_option(name: str, about: str) -> Callable[[F], F]:
    """An option that takes a time, or a duration from now on, and keeps it as it was given."""

    def checked(text: str) -> str:
        try:
            moment(text, datetime.now(UTC))
        except ValueError as error:
            raise click.BadParameter(f"It {error}.") from None
        return text

    return click.option(name, type=checked, metavar="TIME OR DURATION", help=about)


def conditions(command: F) -> F:
    """The options that say which events."""
    for option in reversed(
        [
            click.option("--cause", type=click.Choice([cause.value for cause in Cause]), help="Why."),
            click.option("--escalated", is_flag=True, help="A person was told, and nobody acknowledged it."),
            click.option("--acknowledged", is_flag=True, help="Somebody acknowledged it."),
            click.option("--account", metavar="SUB", help="Of this account."),
            click.option("--provider", metavar="NAME", help="Of this conferencing service, such as zoom."),
            click.option("--incident", metavar="ID", help="Of this incident (`reconciler incidents`)."),
            moment_option("--starts-before", "That start before then."),
        ]
    ):
        command = option(command)
    return command


def wanted(given: dict[str, Any], now: datetime) -> Wanted:
    """The conditions that were given, at this time of the ledger's."""
    cause, before = given["cause"], given["starts_before"]
    end = moment(before, now) if before else None
    return Wanted(**{**given, "cause": Cause(cause) if cause else None, "starts_before": end})


@click.command("list")
@conditions
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many at most."
)
@click.option("--after", metavar="CURSOR", help="Go on where an earlier page ended.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_events(limit: int, after: str | None, as_json: bool, **given: Any) -> None:
    """List pending events that fit all conditions, the soonest start first. Changes nothing."""
    with connected() as (settings, redis):
        keys = Keys(settings.key_prefix)
        lists = Lists(redis, keys, Scripts(redis, keys))
        try:
            page = lists.page(wanted(given, server_time(redis)), limit, after)
        except BadCursor as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        events = [listed.as_json for listed in page.events]
        click.echo(json_text({"events": events, "next": page.after}, indent=2))
        return
    for listed in page.events:
        for line in _lines(listed):
            say_styled(line)
    if not page.events:
        say("None." if page.after is None else "None so far.")
    if page.after is not None:
        say(f"There may be more: add --after {page.after}", err=True)


def _lines(listed: Listed) -> Iterator[Line]:
    event, given = listed.event, listed.acknowledged
    start = utc(event.starts_at) if event.starts_at else "unknown start"
    words = [event.cause.value if event.cause else UNSEEN, *([event.provider] if event.provider else [])]
    if event.parked:
        words.append("parked")
    if given:
        until = f" until {utc(from_ms(given.until))}" if given.until is not None else ""
        words.append(f"acknowledged {given.text}{until}")
    elif event.escalated:
        words.append("escalated")
    yield [(shown(f"{start:<24}{', '.join(words)}"), "")]
    key = event.key
    yield [(f"  {shown(shlex.join((listed.sub, key.calendar_id, key.event_id)))}", "dim")]
