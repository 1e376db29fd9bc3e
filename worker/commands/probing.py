"""The command that asks a real account what the reference marks as unknown: probe."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TextIO

import click
from rich.console import Console

from config.logging import configure_logging
from config.settings import Settings, SettingsError, load_settings
from config.terminal import shown
from worker.bootstrap import bootstrap
from worker.commands.output import json_text, say
from worker.commands.setup import settings_of_command
from worker.cronofy.client import origin_of
from worker.cronofy.errors import CronofyError
from worker.cronofy.http import HttpClient
from worker.ledger.lookup import is_known
from worker.ledger.records import DATA_CENTERS
from worker.probe.asking import Asking, Given, WithLedger
from worker.probe.own_event import DAYS_AHEAD, SUMMARY, OwnEvent
from worker.probe.report import show
from worker.probe.survey import CannotProbe, Survey, open_account, survey_event, survey_reads

#: Not all questions were answered.
SOME_OPEN = 3


@click.command()
@click.argument("sub")
@click.option("--calendar", help="Where the probe's own event goes; by default the primary calendar.")
@click.option("--profile", default="default", show_default=True, help="What that event asks for.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=120.0,
    show_default=True,
    help="Seconds to wait for its conference.",
)
@click.option("--reads-only", is_flag=True, help="Make no event.")
@click.option("--yes", is_flag=True, help="Do not ask; needs --calendar.")
@click.option("--access-token-file", type=click.File(), help="Use the token in this file, and no ledger.")
@click.option("--data-center", type=click.Choice(DATA_CENTERS), default="us", help="Of that token's account.")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
def probe(
    sub: str,
    calendar: str | None,
    profile: str,
    wait: float,
    reads_only: bool,
    yes: bool,
    access_token_file: TextIO | None,
    data_center: str,
    as_json: bool,
) -> None:
    """Ask the account SUB what docs/cronofy-unknown.md marks as unknown, and print the answers.

    Reads, writes that can make nothing, and one event of its own, in two months and without attendees, which
    is always deleted again. Exits with 3 if some questions stay open.
    """
    if not reads_only and yes and calendar is None:
        raise click.UsageError("--yes needs --calendar, or --reads-only.")
    if not reads_only and not yes and not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on: add --yes and --calendar, or --reads-only.")
    try:
        asking = _asking(sub, access_token_file, data_center, event=not reads_only)
        try:
            survey = _survey(asking, sub, calendar, profile, wait, event=not reads_only, yes=yes)
        finally:
            asking.close()
    except (CronofyError, CannotProbe) as error:
        say(f"reconciler: {error}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json_text(survey.as_json, indent=2))
    else:
        show(survey, Console())
    if survey.left:
        sys.exit(1)
    if survey.open:
        sys.exit(SOME_OPEN)


def _survey(
    asking: Asking, sub: str, calendar: str | None, profile: str, wait: float, *, event: bool, yes: bool
) -> Survey:
    account = open_account(asking, sub)
    target = account.calendar(calendar)
    if event:
        if target is None:
            raise CannotProbe("UserInfo lists no calendar that can be written: add --reads-only.")
        if not yes:
            place = shown(f'"{target[1]}" ({target[0]})')
            what = f'Make the event "{SUMMARY}", {DAYS_AHEAD} days ahead, without attendees, in {place}'
            click.confirm(f"{what}, and delete it again", abort=True, err=True)
    today = datetime.now(UTC).date()
    say("Reading…", err=True)
    survey, replies = survey_reads(asking, sub, account, target[0] if target else None, today)
    if not event or target is None:
        return survey
    own = OwnEvent(asking, target[0], profile, wait, today, lambda text: say(text, err=True))
    return survey_event(sub, own, replies)


def _asking(sub: str, token_file: TextIO | None, data_center: str, *, event: bool) -> Asking:
    settings = load_settings() if token_file else settings_of_command()
    if settings.dry_run and event:
        raise SettingsError("RECONCILER_DRY_RUN is set, so no event is made: add --reads-only.")
    # What the client logs is no answer.
    configure_logging(settings.model_copy(update={"log_level": "error"}))
    return _given(settings, token_file, data_center) if token_file else _stored(settings, sub)


def _stored(settings: Settings, sub: str) -> Asking:
    services = bootstrap(settings)
    ledger = services.ledger
    reason = None
    if not is_known(ledger, sub):
        reason = f"The account {sub} is not known."
    elif ledger.account(sub).lost:
        reason = f"Cronofy refuses the account {sub}: connect it again."
    elif ledger.paused_since() is not None:
        reason = "The fleet is paused: end that with reconciler resume."
    if reason:
        services.close()
        raise CannotProbe(reason)
    return WithLedger(services, sub)


def _given(settings: Settings, file: TextIO, data_center: str) -> Asking:
    token = file.read(10_000).strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError("The file of --access-token-file must have one access token, and nothing else.")
    origin = origin_of(settings.cronofy_api_url, data_center)
    # One that a signal breaks off stays lost to the pool: the deletion needs another.
    return Given(HttpClient(settings.http_timeout, connections=8), origin, token, settings.http_timeout)
