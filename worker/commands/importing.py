"""The commands that import from a file: track, connect."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeVar

import click

from worker.bootstrap import Services
from worker.commands.console import progress
from worker.commands.output import say
from worker.commands.setup import settings_of_command
from worker.intake import accept
from worker.intake.bulk import import_lines
from worker.intake.payloads import ConnectAccount, Payload, TrackEvent

P = TypeVar("P", bound=Payload)

_LINES = click.argument("file", type=click.File("rb"))


@click.command()
@_LINES
def track(file: BinaryIO) -> None:
    """Track many events: FILE has one JSON object {"sub", "calendar_id", "event"} per line.

    If FILE is -, standard input is read. Bad lines are reported by number and skipped; the rest are imported.
    """
    _import(file, TrackEvent, accept.track_all)


@click.command()
@_LINES
def connect(file: BinaryIO) -> None:
    """Connect many accounts: FILE has the arguments of conferencing.connect_account, one object per line.

    If FILE is -, standard input is read. Bad lines are reported by number and skipped; the rest are imported.
    No token is printed.
    """
    _import(file, ConnectAccount, accept.connect_all)


def _import(file: BinaryIO, model: type[P], take: Callable[[Services, Sequence[P]], object]) -> None:
    bar = progress("Importing, {task.fields[read]:,} lines")
    imported, refused = import_lines(settings_of_command(), file, model, take, bar)
    say(f"{imported} imported, {refused} refused")
    if refused:
        sys.exit(1)
