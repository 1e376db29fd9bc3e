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

from config.logging import redaction_of
from config.settings import Settings
from config.terminal import shown
from worker.app import app, configure
from worker.commands.console import say_table
from worker.commands.output import json_text, say, say_lines
from worker.commands.setup import check_ids, confirm, connected, list_by_default, user_of_machine
from worker.intake import replay as operation
from worker.intake.replay import Correction
from worker.ledger.dead_letters import DeadLetters
from worker.ledger.ledger import Ledger
from worker.ledger.opening import open_ledger
from worker.wording import second

#: How many characters of a reason the table shows.
LONGEST = 500

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
ALL_OPTION = click.option("--all", "every", is_flag=True, help="All dead letters.")
IDS = click.argument("letter_ids", metavar="[ID]...", nargs=-1)


@click.group("dead-letters", invoke_without_command=True)
@JSON_OPTION
@click.pass_context
def dead_letters(context: click.Context, as_json: bool) -> None:
    """What could not be carried out, with the reason: list, show, replay or drop it.

    Without a command it lists them.
    """
    list_by_default(context, list_letters, as_json=as_json)


@dead_letters.command("list", short_help="The dead letters, oldest first.")
@JSON_OPTION
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1), help="How many to show in the table."
)
def list_letters(as_json: bool, limit: int) -> None:
    """List the dead letters, oldest first; the table shows only the newest."""
    with _opened() as (settings, ledger):
        if as_json:
            _print_json(settings, ledger.dead_letters)
        else:
            _print_table(settings, ledger.dead_letters, limit)


@dead_letters.command(short_help="Show one in full, with secrets masked.")
@click.argument("letter_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(letter_id: str, as_json: bool) -> None:
    """Show one dead letter in full: the payload and any traceback, with secrets masked."""
    with _opened() as (settings, ledger):
        [kept] = operation.chosen(ledger.dead_letters, [letter_id], every=False)
    redaction = redaction_of(settings)
    letter = operation.as_json(kept, redaction)
    traceback = redaction.mask(kept.letter.traceback) if kept.letter.traceback else None
    record = kept.letter.record
    if as_json:
        encoded = None if record is None else base64.b64encode(record).decode()
        click.echo(json_text({**letter, "traceback": traceback, "record": encoded}, indent=2))
        return
    for name in ("id", "task", "at", "reason"):
        say(f"{name:8}{letter[name]}")
    if record is not None:
        say(f"record  {len(record)} unreadable bytes; --json shows them in base64")
    if kept.letter.cut is not None:
        say(f"payload {kept.letter.cut} bytes, of which only the head is kept")
    click.echo(f"\n{json_text(letter['kwargs'], indent=2)}")
    if traceback:
        say_lines(f"\n{traceback.rstrip()}")


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
@click.option("--unset", metavar="NAME", multiple=True, help="Remove an argument.")
@click.option("--even-forgotten", is_flag=True, help="Do not ask about accounts that were forgotten.")
def replay(
    letter_ids: Sequence[str],
    every: bool,
    replacements: Sequence[str],
    unset: Sequence[str],
    even_forgotten: bool,
) -> None:
    """Send the task again, as it was or corrected, and drop the dead letter once the broker has it.

    One about an account that was forgotten would bring it back, so that is asked first.
    """
    check_ids(letter_ids, every, "dead letters")
    corrections = [*map(_replacement, replacements), *map(_removal, unset)]
    left = 0
    with _opened() as (settings, ledger):
        letters = ledger.dead_letters
        configure(settings)

        def send(task: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
            app.send_task(task, args=list(args), kwargs=kwargs, ignore_result=True)

        for kept in operation.chosen(letters, letter_ids, every=every):
            if kept.obstacle:
                left += 1
                say(f"{kept.letter_id} left: {kept.obstacle}", err=True)
                continue
            try:
                sub = operation.forgotten_account(ledger, kept, corrections)
                if sub is not None and not even_forgotten and not _goes_on(kept.letter_id, sub):
                    left += 1
                    continue
                operation.replay(letters, kept, corrections, send, by=user_of_machine())
            except operation.BadCorrection as error:
                left += 1
                say(f"{kept.letter_id} left: {error}", err=True)
            except OperationalError:
                raise click.ClickException(
                    f"The broker does not accept {kept.letter_id}: it is left, and those after it."
                ) from None
            else:
                say(f"{kept.letter_id} {kept.letter.task} sent again")
    sys.exit(1 if left else 0)


@dead_letters.command()
@IDS
@ALL_OPTION
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(letter_ids: Sequence[str], every: bool, yes: bool) -> None:
    """Permanently delete dead letters."""
    check_ids(letter_ids, every, "dead letters")
    with _opened() as (_settings, ledger):
        letters = ledger.dead_letters
        number = len(letters) if every else len(set(letter_ids))
        picked = operation.chosen(letters, letter_ids, every=every)
        confirm(f"Permanently delete {number}?", "delete them", yes=yes)
        dropped = sum(letters.settle(kept, operation.DROPPED, user_of_machine()) for kept in picked)
    say(f"{dropped} dropped")


def _goes_on(letter_id: str, sub: str) -> bool:
    """Whether to bring a forgotten account back; without a terminal to ask on, no."""
    if sys.stdin.isatty():
        question = f"{letter_id} is about {sub}, which was forgotten. Bring it back?"
        return click.confirm(shown(question), err=True)
    why = f"{sub} was forgotten, and this would bring it back; add --even-forgotten to do so"
    say(f"{letter_id} left: {why}", err=True)
    return False


@contextmanager
def _opened() -> Iterator[tuple[Settings, Ledger]]:
    try:
        with connected() as (settings, redis):
            yield settings, open_ledger(settings, redis)
    except operation.UnknownLetter as error:
        raise click.ClickException(str(error)) from None


def _replacement(text: str) -> Correction:
    name, equals, value = text.partition("=")
    if not equals or not all(name.split(".")):
        raise click.UsageError(f"--set takes NAME=JSON, not {name!r}.")
    try:
        return Correction(tuple(name.split(".")), json.loads(value))
    except (ValueError, RecursionError):
        # The value may be a token, so it is not repeated.
        raise click.UsageError(
            f"--set {name}: the value is not JSON; text needs its own quotes: {name}='\"…\"'."
        ) from None


def _removal(name: str) -> Correction:
    return Correction(tuple(name.split(".")), remove=True)


def _print_json(settings: Settings, letters: DeadLetters) -> None:
    """Print a JSON list one dead letter at a time, since there may be many."""
    redaction, before = redaction_of(settings), "["
    for kept in letters:
        click.echo(f"{before}\n{json_text(operation.as_json(kept, redaction))}", nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def _print_table(settings: Settings, letters: DeadLetters, limit: int) -> None:
    redaction, newest = redaction_of(settings), letters.newest(limit)
    if not newest:
        say("There are no dead letters.")
        return
    rows = []
    for kept in newest:
        task = kept.letter.task.removeprefix("conferencing.")
        reason = redaction.mask(kept.sealed or kept.letter.reason)
        rows.append((kept.letter_id, second(kept.at), _head(task), _head(reason)))
    say_table(("id", "kept at (UTC)", "task", "reason"), rows, unbroken=2)
    if len(letters) > len(newest):
        say_lines(f"\n{len(letters)} in all; use --limit to show more.")
    say_lines("\n`reconciler dead-letters show ID` shows one, `replay ID` sends it again.")


def _head(text: str) -> str:
    """No more of a text than a table can hold: ours are short, but anyone may write to the stream."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
