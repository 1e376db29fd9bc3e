"""The commands about events and accounts: track, connect, explain, untrack, forget."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import BinaryIO, TypeVar

import click
from rich.console import Console

from config.logging import configure_logging
from config.terminal import shown
from worker.bootstrap import Services, bootstrap, keyless_ledger
from worker.commands.output import json_text, say
from worker.commands.setup import settings_of_command
from worker.explain.case import Case
from worker.explain.explanation import ask, show, show_former
from worker.explain.suggestions import nearest, nearest_accounts
from worker.intake import accept
from worker.intake.bulk import import_lines
from worker.intake.payloads import AccountOnly, ConnectAccount, Payload, TrackEvent
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.lookup import is_known
from worker.ledger.records import EventKey
from worker.text.amounts import second

P = TypeVar("P", bound=Payload)

_LINES = click.argument("file", type=click.File("rb"))


@click.command(short_help="Import events to track from a file.")
@_LINES
def track(file: BinaryIO) -> None:
    """Track many events: FILE has one JSON object {"sub", "calendar_id", "event"} per line.

    If FILE is -, standard input is read. Bad lines are reported by number and skipped; the rest are imported.
    """
    _import(file, TrackEvent, accept.track_all)


@click.command(short_help="Connect accounts from a file.")
@_LINES
def connect(file: BinaryIO) -> None:
    """Connect many accounts: FILE has the arguments of conferencing.connect_account, one object per line.

    If FILE is -, standard input is read. Bad lines are reported by number and skipped; the rest are imported.
    No token is printed.
    """
    _import(file, ConnectAccount, accept.connect_all)


def _import(file: BinaryIO, model: type[P], take: Callable[[Services, Sequence[P]], object]) -> None:
    imported, refused = import_lines(settings_of_command(), file, model, take, Console(stderr=True))
    say(f"{imported} imported, {refused} refused")
    if refused:
        sys.exit(1)


@click.command(short_help="Why an event has no conferencing yet, and what comes next.")
@click.argument("sub")
@click.argument("calendar")
@click.argument("event")
@click.option("--offline", is_flag=True, help="Answer from the ledger alone, without asking Cronofy.")
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
def explain(sub: str, calendar: str, event: str, offline: bool, as_json: bool) -> None:
    """Say why the event has no conferencing yet, the evidence, and what happens next. Changes nothing."""
    found = ask(settings_of_command(), sub, EventKey(calendar, event), live=not offline)
    if not isinstance(found, Case):
        say(f"The event {event} in calendar {calendar} of {sub} is not tracked.", err=True)
        if found.former:
            say(f"It was, until it was untracked at {second(found.former.at)} UTC.", err=True)
        _suggest(found.near)
        if found.former and not as_json:
            show_former(found.former, Console(stderr=True))
        sys.exit(1)
    if as_json:
        click.echo(json_text(found.answer, indent=2))
    else:
        show(found, Console())


@click.command()
@click.argument("sub")
@click.argument("calendar")
@click.argument("event")
def untrack(sub: str, calendar: str, event: str) -> None:
    """Stop tracking one event. Nothing changes at Cronofy."""
    key, settings = EventKey(calendar, event), settings_of_command()
    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        ledger = keyless_ledger(redis, settings)
        if ledger.untrack(sub, key):
            say(f"The event {event} in calendar {calendar} of {sub} is no longer tracked.")
            return
        say(f"The event {event} in calendar {calendar} of {sub} is not tracked.", err=True)
        _suggest(nearest(ledger, sub, key))
        sys.exit(1)


@click.command(short_help="Delete everything kept about an account.")
@click.argument("sub")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(sub: str, yes: bool) -> None:
    """Delete everything kept about an account: credentials, events, history, outcomes, letters and emails."""
    settings = settings_of_command()
    # The command itself prints what it did.
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    with closing(bootstrap(settings)) as services:
        if not is_known(services.ledger, sub):
            say(f"The account {sub} is not known.", err=True)
            _suggest([(near,) for near in nearest_accounts(services.ledger, sub)])
            sys.exit(1)
        pending = len(services.ledger.pending(sub))
        what = f"{sub}, with its credentials and {pending:,} pending event{'' if pending == 1 else 's'}"
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError(f"There is no terminal to ask on: add --yes to forget {sub}.")
            click.confirm(f"Forget {shown(what)}? This cannot be undone", abort=True, err=True)
        accept.forget_account(services, AccountOnly(sub=sub))
        say(f"Forgot {what}.")


def _suggest(nearest: Sequence[Sequence[str]]) -> None:
    if nearest:
        say("Did you mean:", err=True)
        for ids in nearest:
            say(f"  {shlex.join(ids)}", err=True)
