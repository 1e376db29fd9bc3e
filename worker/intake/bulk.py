"""Bulk import: events to track, or accounts to connect, from JSON lines."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from contextlib import closing
from typing import BinaryIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from config.logging import configure_logging
from config.settings import Settings
from config.terminal import shown
from worker.bootstrap import Services, bootstrap
from worker.intake.payloads import BadPayload, Payload, parse

P = TypeVar("P", bound=Payload)


def import_lines(
    settings: Settings,
    lines: BinaryIO,
    model: type[P],
    take: Callable[[Services, P], object],
    console: Console,
) -> tuple[int, int]:
    """Hand every good line to `take`; returns how many were imported and how many refused.

    Prints the number of each refused line and the reason, without its values, on `console`. The lines are
    read once, so they may come from a pipe. Importing twice does no harm.
    """
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    imported = refused = 0
    columns = (TextColumn("Importing, {task.fields[read]:,} lines"), BarColumn(), TaskProgressColumn())
    with (
        closing(bootstrap(settings)) as services,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=_size(lines), read=0)
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    take(services, parse(model, (), _content(line)))
                    imported += 1
                except BadPayload as error:
                    refused += 1
                    progress.console.print(shown(f"line {number}: {error}"), markup=False, highlight=False)
            progress.update(task, advance=len(line), read=number)
    return imported, refused


def _size(lines: BinaryIO) -> int | None:
    """The bytes to read; None if only the end will tell, as with a pipe."""
    found = os.fstat(lines.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _content(line: bytes) -> dict[str, object]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise BadPayload("This is not JSON.") from None
    if not isinstance(content, dict):
        raise BadPayload("This is not a JSON object.")
    return content
