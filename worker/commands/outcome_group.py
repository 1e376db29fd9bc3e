"""The command `reconciler outcomes`: what comes, and what `RECONCILER_OUTCOME_URL` has not taken."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click
from redis.exceptions import RedisError

from config.durations import parse_duration
from worker.commands.console import say_table
from worker.commands.ledger import ledger_of_command
from worker.commands.output import json_text, say
from worker.commands.setup import check_ids, confirm, list_by_default
from worker.diagnosis.times import parse_instant
from worker.ledger.connection import refusal
from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import OutcomeStream
from worker.wording import amount, second

#: How often to look for new outcomes, and how many are read at once.
FOLLOW_SECONDS = 0.5
READ_AT_ONCE = 100
TIME = "TIME OR DURATION"
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
IDS = click.argument("outcome_ids", metavar="[ID]...", nargs=-1)


def _past(text: str) -> datetime:
    """A time, or how long ago that was."""
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.now(UTC) - parse_duration(text)
    except (ValueError, OverflowError):
        why = "It must be a time such as 2026-12-01T09:00:00Z, or how long ago, such as PT6H."
        raise click.BadParameter(why) from None


@click.group(invoke_without_command=True)
@click.option("--follow", is_flag=True, help="Print each outcome as it comes, one a line; Ctrl-C to quit.")
@JSON_OPTION
@click.pass_context
def outcomes(context: click.Context, follow: bool, as_json: bool) -> None:
    """What RECONCILER_OUTCOME_URL has not taken: how many outcomes are owed, and which were given up.

    Without a command it lists them. With --follow it shows what comes, whether there is such a URL or not.
    """
    if follow:
        if context.invoked_subcommand is not None:
            raise click.UsageError("--follow stands alone.")
        context.invoke(_follow, as_json=as_json)
        return
    list_by_default(context, list_outcomes, as_json=as_json)


def _follow(as_json: bool) -> None:
    with ledger_of_command() as ledger, suppress(KeyboardInterrupt):
        for text in _coming(ledger.outcomes):
            outcome = json.loads(text)
            click.echo(json_text(outcome)) if as_json else say(_line(outcome))


def _coming(stream: OutcomeStream) -> Iterator[str]:
    """Each new outcome as JSON; an outage of Redis is said once, and waited out."""
    last, away = stream.newest_id(), False
    while True:
        try:
            for entry_id, text in stream.after(last, READ_AT_ONCE):
                yield text
                last = entry_id
            away = False
        except RedisError as error:
            why = refusal(error)
            if why is None:
                raise
            if not away:
                say(f"Redis is unavailable ({why}); going on once it is back.", err=True)
            away = True
        time.sleep(FOLLOW_SECONDS)


def _line(outcome: dict[str, Any]) -> str:
    """One outcome for a person: when, what, of which event, and why."""
    ids = [outcome[name] for name in ("sub", "calendar_id", "event_id") if outcome[name]]
    reason = outcome["detail"].get("reason")
    words = [outcome["cause"], None if reason == outcome["cause"] else reason]
    what = f"{second(parse_instant(outcome['at']))}  {outcome['type']:<18}  {shlex.join(ids)}"
    return "  ".join([what, *(word for word in words if word)])


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
        rows = []
        for each in dead:
            outcome_id, kind = str(each.outcome.get("id")), str(each.outcome.get("type"))
            rows.append((outcome_id, second(each.at), kind, str(each.tries), each.reason))
        say_table(("id", "given up at (UTC)", "type", "tries", "reason"), rows, unbroken=2)
    say(f"{amount(owed, 'outcome')} owed, {len(dead)} given up.")


@outcomes.command(short_help="Post outcomes again, by id or time.")
@IDS
@click.option(
    "--since", type=_past, metavar=TIME, help="All from then on: a time, or how long ago, such as PT6H."
)
@click.option("--until", type=_past, metavar=TIME, help="With --since: all up to then.")
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
