"""Prints the answers for people."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.text import Text

from config.terminal import shown
from worker.probe.by_hand import BY_HAND
from worker.probe.finding import OPEN, Finding
from worker.probe.survey import Survey
from worker.wording import amount


def show(survey: Survey, console: Console) -> None:
    """Each question with answer, assumption and evidence; then what is left to people."""
    for finding in survey.findings:
        _print(
            console, f"{finding.word:<16} {finding.question.section} {finding.question.asks}", _style(finding)
        )
        agreed = " NOT SO." if finding.as_assumed is False else ""
        _print(console, f"assumed  {finding.question.assumed}{agreed}", "", "  ")
        _print(console, f"evidence {finding.evidence}", "", "  ")
    console.print(Text("\nCannot be probed harmlessly; how to settle it by hand:", "bold"), soft_wrap=True)
    for each in BY_HAND:
        _print(console, f"{each.section} {each.question}: {each.how}", "", "  ")
    differing = sum(finding.as_assumed is False for finding in survey.findings)
    settled = len(survey.findings) - survey.open
    what = f"{amount(settled, 'question')} answered, {differing} not as assumed, {survey.open} open."
    console.print(f"\n{what}", highlight=False)


def _style(finding: Finding) -> str:
    if finding.word == OPEN:
        return "yellow"
    return "green" if finding.as_assumed else "bold red"


def _print(console: Console, text: str, style: str, margin: str = "") -> None:
    lines = [f"{margin}{shown(text)}"]
    if console.is_terminal:
        width = max(40, console.width - 1)
        indent = f"{margin}         " if margin else " " * 17
        lines = textwrap.wrap(
            lines[0], width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
    for line in lines:
        console.print(Text(line, style), soft_wrap=True)
