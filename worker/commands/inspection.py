"""The commands that only look: the state of the fleet, and what is wrong with it."""

from __future__ import annotations

import logging
import sys

import click
from rich.console import Console

from config.settings import SettingsError
from worker.commands.output import json_text
from worker.commands.setup import check_layout, settings_of_command, settings_of_role
from worker.doctor.examination import examine, misread, unreadable
from worker.doctor.finding import Health
from worker.doctor.report import show
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.layout import NewerLedger
from worker.status.snapshot import Status, read_status
from worker.status.table import status_table
from worker.status.table import watch as watch_status


@click.command(short_help="Show the fleet: backlog, what starts next, budget.")
@click.option("--watch", is_flag=True, help="Refresh every two seconds; q or Ctrl-C to quit.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(watch: bool, as_json: bool) -> None:
    """Show the backlog by cause, what starts next, the budget, queues and workers. Changes nothing."""
    console = Console()
    if watch and as_json:
        raise click.UsageError("--watch and --json cannot be combined.")
    if watch and not console.is_terminal:
        raise click.UsageError("--watch needs a terminal.")
    settings = settings_of_command()

    def read() -> Status:
        return read_status(redis, settings)

    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        if as_json:
            click.echo(json_text(read().as_json, indent=2))
        elif watch:
            watch_status(read, settings.sweep_every, console)
        else:
            console.print(status_table(read(), settings.sweep_every), highlight=False)


@click.command(short_help="Check settings, servers, Cronofy and mail, and say how to fix them.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Check settings, servers, processes, keys, Cronofy and mail: one line each, with the fix.

    Exits with 1 if anything is wrong. Sends no email; asks Cronofy once per client secret, within the budget.
    """
    logging.disable(logging.CRITICAL)
    try:
        settings = settings_of_role()
        check_layout(settings)
        findings = examine(settings)
    except SettingsError as error:
        findings = unreadable(error)
    except NewerLedger as newer:
        findings = [misread(newer)]
    if as_json:
        click.echo(json_text([finding.as_json for finding in findings], indent=2))
    else:
        show(findings, Console())
    if any(finding.health is Health.WRONG for finding in findings):
        sys.exit(1)
