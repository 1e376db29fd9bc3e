"""The command that shows what users are written: which letters there are, and how each looks."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click
from rich.console import Console
from rich.table import Table

from config.settings import Settings, SettingsError, load_settings
from config.terminal import shown
from worker.bootstrap import make_letters, make_mailer
from worker.commands.ledger import ledger_of_command
from worker.commands.output import json_text, say, say_lines, say_not_tracked, suggest
from worker.diagnosis.model import Cause
from worker.ledger.records import EventKey
from worker.mail.letters import LETTERS, FallbackEmail, Letter, Letters, UserEmail, samples
from worker.mail.smtp import MailError
from worker.reconcile.emails import Emails, meeting_of
from worker.reconcile.relinks import reader_of


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.pass_context
def letters(context: click.Context, as_json: bool) -> None:
    """List the letters to users, and which of their parts are the company's own. Changes nothing."""
    if context.invoked_subcommand is not None:
        return
    written = make_letters(load_settings())
    own = {kind: written.own_files(kind) for kind in LETTERS}
    if as_json:
        rows = [{"letter": kind, "about": LETTERS[kind], "own": own[kind]} for kind in LETTERS]
        click.echo(json_text({"letters": rows, "languages": list(written.languages)}, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("letter", "about", "own templates"):
        table.add_column(name, overflow="fold")
    for kind, about in LETTERS.items():
        table.add_row(kind, about, "\n".join(map(shown, own[kind])) or "none")
    Console().print(table, highlight=False, markup=False)
    say(f"Languages: {', '.join(written.languages)}")


@letters.command(short_help="Show one letter, or send it to yourself.")
@click.argument("letter", type=click.Choice(list(LETTERS)))
@click.option("--locale", metavar="TAG", help="The language, such as de or pt-BR.")
@click.option(
    "--event", nargs=3, metavar="SUB CALENDAR EVENT", help="About this tracked event, for its user."
)
@click.option("--reminder", is_flag=True, help="As a reminder.")
@click.option("--html", "as_html", is_flag=True, help="Print the HTML part.")
@click.option("--open", "opened", is_flag=True, help="Open the HTML part in a browser.")
@click.option("--send-to", metavar="ADDRESS", help="Send it there, by RECONCILER_SMTP_URL.")
def preview(
    letter: str,
    locale: str | None,
    event: tuple[str, str, str] | None,
    reminder: bool,
    as_html: bool,
    opened: bool,
    send_to: str | None,
) -> None:
    """Show a letter about made-up meetings or a real event. The link in it is always made up."""
    settings = load_settings()
    written = make_letters(settings)
    if reminder and letter == "fallback":
        raise click.UsageError("The letter fallback has no reminder.")
    made_up = (each for kind, each in samples(locale) if kind == letter)
    email = next(each for each in made_up if (getattr(each, "reminder", 0) > 0) is reminder)
    if event:
        email = _about(email, *event, locale=locale)
    if send_to:
        email = replace(email, reader=replace(email.reader, address=send_to))
    try:
        finished = written.write(email)
    except ValueError as error:
        raise SettingsError(f"The letter cannot be written: {error}.") from None
    if as_html:
        click.echo(finished.html)
    else:
        say(f"Subject: {finished.subject}")
        say_lines(f"\n{finished.text}")
    if opened:
        _open(finished)
    if send_to:
        _send(settings, written, finished)


def _about(email: UserEmail, sub: str, calendar_id: str, event_id: str, *, locale: str | None) -> UserEmail:
    """The same letter about a tracked event, to its account's user."""
    with ledger_of_command() as ledger:
        stored = ledger.find(sub, EventKey(calendar_id, event_id))
        account = ledger.account(sub)
    if stored is None:
        say_not_tracked(sub, calendar_id, event_id)
        suggest("What is known of it:", [("explain", "--offline", sub, calendar_id, event_id)])
        sys.exit(1)
    reader = reader_of(account, account.email or email.reader.address)
    if locale:
        reader = replace(reader, locale=locale)
    meeting = meeting_of(stored.event)
    if isinstance(email, FallbackEmail):
        return replace(email, reader=reader, meeting=meeting, cause=stored.event.cause or Cause.UNEXPLAINED)
    name = account.profile_names.get(stored.event.profile_id or "")
    provider_name = stored.event.provider_name
    return replace(email, reader=reader, meetings=(meeting,), provider_name=provider_name, profile_name=name)


def _open(letter: Letter) -> None:
    with tempfile.NamedTemporaryFile(
        "w", prefix=f"{letter.kind}-", suffix=".html", delete=False, encoding="utf-8"
    ) as file:
        file.write(letter.html)
    say(f"Opening {file.name}", err=True)
    if click.launch(Path(file.name).as_uri()) != 0:
        raise SettingsError(f"No browser could be started. The letter is in {file.name}.")


def _send(settings: Settings, written: Letters, letter: Letter) -> None:
    if settings.smtp_url is None:
        raise SettingsError("RECONCILER_SMTP_URL must be set to send a letter.")
    emails = Emails(settings.mail_from, settings.mail_reply_to, None, written)
    message = emails.message(uuid4().hex, letter, datetime.now(UTC))
    try:
        make_mailer(settings).send(message)
    except MailError as error:
        raise SettingsError(f"The letter could not be sent: {error}") from None
    say(f"Sent to {letter.to}.", err=True)
