"""The command `reconciler dead-letters`: list, show, replay, drop."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from kombu.exceptions import OperationalError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.logging import redaction_of
from config.settings import Settings
from worker.app import app, configure
from worker.bootstrap import open_ledger
from worker.commands.setup import settings_of_role
from worker.intake import replay as operation
from worker.intake.replay import Correction
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.dead_letters import DeadLetters

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print all of them as JSON.")
ALL_OPTION = click.option("--all", "every", is_flag=True, help="All dead letters.")
IDS = click.argument("letter_ids", metavar="[ID]...", nargs=-1)


@click.group(
    "dead-letters",
    invoke_without_command=True,
    short_help="What could not be carried out: list, show, replay, drop.",
)
@JSON_OPTION
@click.pass_context
def dead_letters(context: click.Context, as_json: bool) -> None:
    """What could not be carried out, with the reason: list, show, replay or drop it.

    Without a command it lists them.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_letters, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"--json goes behind {context.invoked_subcommand}.")


@dead_letters.command("list", short_help="The dead letters, oldest first.")
@JSON_OPTION
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1), help="How many the table shows."
)
def list_letters(as_json: bool, limit: int = 50) -> None:
    """The dead letters, oldest first; the table shows the newest of them."""
    with _opened() as (settings, letters):
        if as_json:
            _print_json(settings, letters)
        else:
            _print_table(settings, letters, limit)


@dead_letters.command(short_help="All of one, with secrets masked.")
@click.argument("letter_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(letter_id: str, as_json: bool) -> None:
    """All of one dead letter: the payload and, where there is one, the traceback; secrets masked."""
    with _opened() as (settings, letters), _letter_errors():
        [kept] = operation.chosen(letters, [letter_id], every=False)
    redaction = redaction_of(settings)
    shown = operation.as_json(kept, redaction)
    traceback = redaction.mask(kept.letter.traceback) if kept.letter.traceback else None
    record = kept.letter.record
    if as_json:
        encoded = None if record is None else base64.b64encode(record).decode()
        click.echo(_dumped({**shown, "traceback": traceback, "record": encoded}, indent=2))
        return
    for name in ("id", "task", "at", "reason"):
        click.echo(f"{name:8}{_printable(shown[name])}")
    if record is not None:
        click.echo(f"record  {len(record)} bytes that could not be read; --json shows them in base64")
    click.echo(f"\n{_dumped(shown['kwargs'], indent=2)}")
    if traceback:
        click.echo(f"\n{_printable(traceback.rstrip())}")


@dead_letters.command(short_help="Send the task again, as it was or corrected.")
@IDS
@ALL_OPTION
@click.option(
    "--set",
    "replacements",
    metavar="NAME=JSON",
    multiple=True,
    help="Replace an argument: event.summary='\"x\"'.",
)
@click.option("--unset", metavar="NAME", multiple=True, help="Leave an argument out.")
def replay(letter_ids: Sequence[str], every: bool, replacements: Sequence[str], unset: Sequence[str]) -> None:
    """Send the task again, as it was or corrected; the letter goes once the broker has the message."""
    _check_choice(letter_ids, every)
    corrections = [*map(_replacement, replacements), *map(_removal, unset)]
    left = 0
    with _opened() as (settings, letters), _letter_errors():
        configure(settings)

        def send(task: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
            app.send_task(task, args=list(args), kwargs=kwargs, ignore_result=True)

        for kept in operation.chosen(letters, letter_ids, every=every):
            if kept.sealed:
                left += 1
                click.echo(f"{kept.letter_id} left: {kept.sealed}", err=True)
                continue
            try:
                operation.replay(letters, kept, corrections, send)
            except operation.BadCorrection as error:
                left += 1
                click.echo(f"{kept.letter_id} left: {error}", err=True)
            except OperationalError:
                raise click.ClickException(
                    f"The broker does not take {kept.letter_id}, so it is left, with those after it."
                ) from None
            else:
                click.echo(f"{kept.letter_id} {kept.letter.task} sent again")
    sys.exit(1 if left else 0)


@dead_letters.command()
@IDS
@ALL_OPTION
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(letter_ids: Sequence[str], every: bool, yes: bool) -> None:
    """Erase dead letters for good."""
    _check_choice(letter_ids, every)
    with _opened() as (_settings, letters), _letter_errors():
        number = len(letters) if every else len(set(letter_ids))
        picked = operation.chosen(letters, letter_ids, every=every)
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("Nobody can be asked here: add --yes to erase them.")
            click.confirm(f"Erase {number} for good?", abort=True)
        dropped = sum(letters.remove(kept.letter_id) for kept in picked)
    click.echo(f"{dropped} dropped")


@contextmanager
def _opened() -> Iterator[tuple[Settings, DeadLetters]]:
    settings = settings_of_role()
    ledger = open_ledger(settings, connect_once(settings.ledger_url, A_PERSONS_PATIENCE))
    try:
        yield settings, ledger.dead_letters
    finally:
        ledger.redis.close()


@contextmanager
def _letter_errors() -> Iterator[None]:
    try:
        yield
    except operation.UnknownLetter as error:
        raise click.ClickException(str(error)) from None


def _check_choice(letter_ids: Sequence[str], every: bool) -> None:
    if every == bool(letter_ids):
        raise click.UsageError("Name dead letters by their ids, or all of them by --all.")


def _replacement(text: str) -> Correction:
    name, equals, value = text.partition("=")
    if not equals or not all(name.split(".")):
        raise click.UsageError(f"--set takes NAME=JSON, not {name!r}.")
    try:
        return Correction(tuple(name.split(".")), json.loads(value))
    except (ValueError, RecursionError):
        # The value itself is not repeated: it may be a token.
        raise click.UsageError(
            f"--set {name}: the value is no JSON; a text needs its own quotes: {name}='\"…\"'."
        ) from None


def _removal(name: str) -> Correction:
    return Correction(tuple(name.split(".")), remove=True)


def _print_json(settings: Settings, letters: DeadLetters) -> None:
    """A JSON list, written one letter at a time: there may be many."""
    redaction, before = redaction_of(settings), "["
    for kept in letters:
        click.echo(f"{before}\n{_dumped(operation.as_json(kept, redaction))}", nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def _print_table(settings: Settings, letters: DeadLetters, limit: int) -> None:
    redaction, shown = redaction_of(settings), letters.newest(limit)
    if not shown:
        click.echo("There are no dead letters.")
        return
    table = Table("id", "kept at (UTC)", "task", "reason", box=None, pad_edge=False)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for kept in shown:
        task = kept.letter.task.removeprefix("conferencing.")
        reason = redaction.mask(kept.sealed or kept.letter.reason)
        table.add_row(
            kept.letter_id, f"{kept.at:%m-%d %H:%M:%S}", Text(_printable(task)), Text(_printable(reason))
        )
    Console().print(table)
    if len(letters) > len(shown):
        click.echo(f"\n{len(letters)} in all; --limit shows more of them.")
    click.echo("\n`reconciler dead-letters show ID` shows one, `replay ID` sends it again.")


def _dumped(value: Any, indent: int | None = None) -> str:
    """JSON that any terminal can take: all of it is escaped where something in it is no valid text."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if text.isascii() or _is_valid(text) else json.dumps(value, indent=indent)


def _is_valid(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _printable(text: str) -> str:
    """The text without what steers a terminal: callers choose the names that reasons repeat."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)
