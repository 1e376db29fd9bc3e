"""The command that shows what came of the meetings."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import click

from config.durations import parse_duration
from worker.commands.output import json_text, say_lines
from worker.commands.setup import connected
from worker.ledger.connection import server_time
from worker.ledger.keys import Keys
from worker.ledger.tallies import DAYS_KEPT
from worker.report.summary import last_days, read_report
from worker.report.table import report_lines


def _since(text: str) -> date | timedelta:
    """A first day, or a duration up to now of at most what is kept."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        span = parse_duration(text)
    except ValueError:
        why = "Give a date such as 2026-11-01, or a duration such as P30D."
        raise click.BadParameter(why) from None
    if not timedelta(days=1) <= span <= timedelta(days=DAYS_KEPT):
        raise click.BadParameter(f"Give at least P1D and at most P{DAYS_KEPT}D: no more is kept.")
    return span


@click.command()
@click.option("--since", type=_since, default="P30D", show_default=True, metavar="DATE|DURATION")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--html", "as_html", is_flag=True, help="Print it as a page of its own, with plots.")
def report(since: date | timedelta, as_json: bool, as_html: bool) -> None:
    """Show how the meetings of these days (UTC) began, why, and what we did. Changes nothing."""
    if as_json and as_html:
        raise click.UsageError("--json and --html cannot be combined.")
    with connected() as (settings, redis):
        now = server_time(redis)
        first, last = _days(since, now)
        found = read_report(redis, Keys(settings.key_prefix), first, last)
    if as_json:
        click.echo(json_text(found.as_json, indent=2))
    elif as_html:
        from worker.web.board.report import report_page  # noqa: PLC0415 - only this needs the web's libraries

        click.echo(report_page(found, alone=True))
    else:
        say_lines("\n".join(report_lines(found)))


def _days(since: date | timedelta, now: datetime) -> tuple[date, date]:
    if isinstance(since, timedelta):
        return last_days(now, since)
    today = now.astimezone(UTC).date()
    if not today - timedelta(days=DAYS_KEPT) <= since <= today:
        raise click.UsageError(f"--since: {since} is not within the last {DAYS_KEPT} days.")
    return since, today
