"""The command that says what is wrong with the fleet, and how to fix it."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from config.settings import SettingsError
from config.terminal import shown
from worker.commands.output import json_text
from worker.commands.setup import check_layout, settings_of_role
from worker.doctor.examination import examine, misread, unreadable
from worker.doctor.finding import Finding, Health
from worker.ledger.layout import NewerLedger
from worker.wording import amount

_STYLES = {Health.OK: "green", Health.WARNING: "yellow", Health.WRONG: "bold red", Health.SKIPPED: "dim"}
_MARGIN = " " * 25


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


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings and a summary, wrapped on a terminal, otherwise one line each."""
    for finding in findings:
        what, fix = shown(finding.what), shown(f"-> {finding.fix}") if finding.fix else ""
        if console.is_terminal:
            lines = [line for text in (what, fix) for line in _wrapped(text, console.width)]
        else:
            lines = [f"{what} {fix}".rstrip()]
        head = (f"{finding.health.value:<9}", _STYLES[finding.health])
        text = Text.assemble(head, f"{finding.name:<16}", f"\n{_MARGIN}".join(lines))
        console.print(text, soft_wrap=True)
    faults = sum(finding.health is Health.WRONG for finding in findings)
    doubts = sum(finding.health is Health.WARNING for finding in findings)
    console.print(f"\n{amount(faults, 'fault')}, {amount(doubts, 'warning')}.", highlight=False)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(30, width - len(_MARGIN) - 1), break_on_hyphens=False)
