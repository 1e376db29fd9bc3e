"""The command that says what is wrong with the fleet, and how to fix it."""

from __future__ import annotations

import logging
import sys

import click
from rich.console import Console

from config.settings import SettingsError
from worker.commands.output import json_text
from worker.commands.setup import check_layout, settings_of_role
from worker.doctor.examination import examine, misread, unreadable
from worker.doctor.finding import Health
from worker.doctor.report import show
from worker.ledger.layout import NewerLedger


@click.command()
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
