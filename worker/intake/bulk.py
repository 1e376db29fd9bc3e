"""Bulk import: events to track, from a file of JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config.logging import configure_logging
from config.settings import Settings
from worker.bootstrap import Services, bootstrap
from worker.intake import accept
from worker.intake.payloads import BadPayload, TrackEvent, parse


def import_lines(settings: Settings, file: Path, console: Console) -> tuple[int, int]:
    """Track every good line of `file`; returns how many were imported and how many refused.

    Prints the number of each refused line and the reason on `console`. Importing twice does no harm.
    """
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    services = bootstrap(settings)
    with file.open("rb") as lines:
        total = sum(1 for line in lines if line.strip())
    imported = refused = 0
    columns = (TextColumn("Importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with (
            file.open("rb") as lines,
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ):
            task = progress.add_task("", total=total)
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    _import(services, line)
                    imported += 1
                except BadPayload as error:
                    refused += 1
                    progress.console.print(f"line {number}: {error}", markup=False, highlight=False)
                progress.advance(task)
    finally:
        services.close()
    return imported, refused


def _import(services: Services, line: bytes) -> None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise BadPayload("This is not JSON.") from None
    if not isinstance(content, dict):
        raise BadPayload("This is not a JSON object.")
    accept.track(services, parse(TrackEvent, (), content))
