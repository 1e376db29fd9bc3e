"""The command `reconciler outcomes`: what `RECONCILER_OUTCOME_URL` has not taken; replay and drop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.durations import parse_duration
from config.terminal import shown
from worker.commands.output import json_text, say
from worker.commands.setup import check_ids, confirm, ledger_of_command, list_by_default
from worker.diagnosis.times import parse_instant
from worker.ledger.ledger import Ledger
from worker.ledger.posts import DeadPost
from worker.wording import amount, second


class _Past(click.ParamType[datetime]):
    """A time, or how long ago that was."""

    name = "time or duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return parse_instant(value)
        except (ValueError, OverflowError):
            pass
        try:
            return datetime.now(UTC) - parse_duration(value)
        except (ValueError, OverflowError):
            why = "It must be a time such as 2026-12-01T09:00:00Z, or how long ago, such as PT6H."
            self.fail(why, param, ctx)


PAST = _Past()
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
IDS = click.argument("outcome_ids", metavar="[ID]...", nargs=-1)


@click.group(invoke_without_command=True)
@JSON_OPTION
@click.pass_context
def outcomes(context: click.Context, as_json: bool) -> None:
    """What RECONCILER_OUTCOME_URL has not taken: how many outcomes are owed, and which were given up.

    Without a command it lists them.
    """
    list_by_default(context, list_outcomes, as_json=as_json)


@outcomes.command("list", short_help="How many are owed, and those given up.")
@JSON_OPTION
def list_outcomes(as_json: bool) -> None:
    """List the outcomes that were given up, oldest first, and count those that are tried again."""
    with ledger_of_command() as ledger:
        owed, dead = ledger.posts.counts()[0], ledger.posts.dead()
    if as_json:
        click.echo(json_text({"owed": owed, "given_up": [each.as_json for each in dead]}, indent=2))
        return
    if dead:
        Console().print(_table(dead))
    say(f"{amount(owed, 'outcome')} owed, {len(dead)} given up.")


@outcomes.command(short_help="Post outcomes again, by id or time.")
@IDS
@click.option("--since", type=PAST, help="All from then on: a time, or how long ago, such as PT6H.")
@click.option("--until", type=PAST, help="With --since: all up to then.")
@click.option("--given-up", is_flag=True, help="All that were given up.")
def replay(
    outcome_ids: Sequence[str], since: datetime | None, until: datetime | None, given_up: bool
) -> None:
    """Post outcomes to RECONCILER_OUTCOME_URL again, each with its own id, in order.

    The stream has about RECONCILER_OUTCOMES_KEEP of them. Those that were never posted yet are left alone, as
    they will be.
    """
    ways = [bool(outcome_ids), since is not None, given_up].count(True)
    if ways != 1 or (until is not None and since is None):
        raise click.UsageError("Give ids of outcomes, or --since (and --until), or --given-up.")
    missing: list[str] = []
    with ledger_of_command() as ledger:
        if since is not None:
            found = [entry_id for entry_id, _ in ledger.outcomes.between(since, until)]
        elif given_up:
            found = [each.entry_id.encode() for each in ledger.posts.dead()]
        else:
            found, missing = _named(ledger, outcome_ids)
        again = ledger.posts.replay(found)
    for each in missing:
        say(f"{each} is neither in the stream nor among those given up", err=True)
    say(f"{amount(again, 'outcome')} will be posted again.")
    sys.exit(1 if missing else 0)


@outcomes.command()
@IDS
@click.option("--all", "every", is_flag=True, help="All that were given up.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(outcome_ids: Sequence[str], every: bool, yes: bool) -> None:
    """Forget outcomes that were given up; the stream may still have them."""
    check_ids(outcome_ids, every, "outcomes that were given up")
    with ledger_of_command() as ledger:
        dead = {str(each.outcome.get("id")): each.entry_id for each in ledger.posts.dead()}
        named = list(dead) if every else list(dict.fromkeys(outcome_ids))
        missing = [each for each in named if each not in dead]
        for each in missing:
            say(f"{each} is not among those given up", err=True)
        confirm(f"Forget {len(named) - len(missing)}?", "drop them", yes=yes)
        dropped = ledger.posts.drop(dead[each] for each in named if each in dead)
    say(f"{dropped} dropped")
    sys.exit(1 if missing else 0)


def _named(ledger: Ledger, outcome_ids: Sequence[str]) -> tuple[list[bytes], list[str]]:
    """The entries with these outcomes, and the ids that nothing has."""
    wanted = set(outcome_ids)
    found = {
        str(each.outcome.get("id")): each.entry_id.encode()
        for each in ledger.posts.dead()
        if each.outcome.get("id") in wanted
    }
    for entry_id, outcome in ledger.outcomes.between(None, None):
        # Reading them all as JSON would take most of the time.
        found |= {each: entry_id for each in wanted - found.keys() if f'"id": "{each}"' in outcome}
        if len(found) == len(wanted):
            break
    return list(found.values()), [each for each in outcome_ids if each not in found]


def _table(dead: Sequence[DeadPost]) -> Table:
    table = Table("id", "given up at (UTC)", "type", "tries", "reason", box=None, pad_edge=False)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for each in dead:
        words = (str(each.outcome.get("type")), str(each.tries), each.reason)
        texts = (Text(shown(word)) for word in (str(each.outcome.get("id")), second(each.at), *words))
        table.add_row(*texts)
    return table
