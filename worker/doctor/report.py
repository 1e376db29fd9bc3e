"""Prints the findings for people: one line each, with the fix below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from config.terminal import shown
from worker.doctor.finding import Finding, Health
from worker.wording import amount

_STYLES = {Health.OK: "green", Health.WARNING: "yellow", Health.WRONG: "bold red", Health.SKIPPED: "dim"}
_MARGIN = " " * 25


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
