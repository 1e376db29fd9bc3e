"""The command about one event: explain."""

from __future__ import annotations

import sys

import click

from worker.commands.output import json_text, say, say_not_tracked, say_styled, suggest, suggest_events, width
from worker.commands.setup import connected
from worker.explain.case import Case
from worker.explain.explanation import NotTracked, ask, former_in_lines, in_lines
from worker.ledger.records import EventKey, from_ms
from worker.wording import spoken, utc


@click.command()
@click.argument("sub")
@click.argument("calendar")
@click.argument("event")
@click.option("--offline", is_flag=True, help="Answer from the ledger alone, without asking Cronofy.")
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
def explain(sub: str, calendar: str, event: str, offline: bool, as_json: bool) -> None:
    """Say why the event has no conferencing yet, the evidence, and what happens next. Changes nothing."""
    with connected() as (settings, redis):
        found = ask(settings, redis, sub, EventKey(calendar, event), live=not offline)
    if not isinstance(found, Case):
        say_not_tracked(sub, calendar, event)
        if found.former:
            say(f"It was, until it was untracked at {utc(from_ms(found.former.next_look))}.", err=True)
        else:
            say(f"Nor was it in the last {spoken(settings.history_keep)}.", err=True)
        suggest_events("explain", found.near)
        if not found.account_known:
            say(f"The account {sub} is not known, either.", err=True)
        suggest("To have it watched:", _steps(found, sub))
        if found.former and not as_json:
            for line in former_in_lines(found.former, width()):
                say_styled(line, err=True)
        sys.exit(1)
    if as_json:
        click.echo(json_text(found.answer, indent=2))
    else:
        for line in in_lines(found, width()):
            say_styled(line)


def _steps(found: NotTracked, sub: str) -> list[tuple[str, ...]]:
    """What to type to have an event watched; what was untracked is not adopted."""
    if not found.account_known:
        return [("connect", "FILE"), ("track", "FILE")]
    return [("track", "FILE") if found.former else ("adopt", sub)]
