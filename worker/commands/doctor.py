"""The command that says what is wrong with the fleet, and how to fix it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence

import click

from config.settings import SettingsError
from config.terminal import Line, shown
from worker.commands.output import json_text, say_wrapped
from worker.commands.setup import check_layout, settings_of_role
from worker.doctor.examination import examine, misread, unreadable
from worker.doctor.finding import Finding, Health
from worker.ledger.layout import NewerLedger
from worker.wording import amount

#: How wide the first two columns are: what a finding is, and its name.
STATE_WIDTH, NAME_WIDTH = 9, 18
STYLES = {Health.OK: "green", Health.WARNING: "yellow", Health.WRONG: "red", Health.SKIPPED: "dim"}


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
        for line in finding_lines(findings, below=sys.stdout.isatty()):
            say_wrapped(line)
    if any(finding.health is Health.WRONG for finding in findings):
        sys.exit(1)


def finding_lines(findings: Sequence[Finding], *, below: bool) -> Iterator[Line]:
    """The findings and how many are faults; the fix of each stands `below` it, or else behind it."""
    for finding in findings:
        head = [
            (f"{finding.health:<{STATE_WIDTH}}", STYLES[finding.health]),
            (f"{finding.name:<{NAME_WIDTH}}", ""),
        ]
        what, fix = shown(finding.what), shown(f"-> {finding.fix}") if finding.fix else ""
        if below and fix:
            yield [*head, (what, "")]
            yield [(" " * (STATE_WIDTH + NAME_WIDTH), ""), (fix, "")]
        else:
            yield [*head, (f"{what} {fix}".rstrip(), "")]
    faults = sum(finding.health is Health.WRONG for finding in findings)
    doubts = sum(finding.health is Health.WARNING for finding in findings)
    yield []
    yield [(f"{amount(faults, 'fault')}, {amount(doubts, 'warning')}.", "")]
