"""What commands print, on any terminal or pipe."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click

from config.terminal import shown, shown_lines


def escape_the_unshowable() -> None:
    """Let both streams escape what their encoding does not have, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str, *, err: bool = False) -> None:
    """Print one line, whatever is in it."""
    click.echo(shown(text), err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print a text of several lines, such as a traceback."""
    click.echo(shown_lines(text), err=err)


def suggest(nearest: Sequence[Sequence[str]]) -> None:
    """Print the ids that are nearest to unknown ones, if there are any."""
    if nearest:
        say("Did you mean:", err=True)
        for ids in nearest:
            say(f"  {shlex.join(ids)}", err=True)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON as readable as standard output can show it: escaped to ASCII if anything in it cannot be.

    What a terminal would act on is escaped anyway.
    """
    text = shown_lines(json.dumps(value, ensure_ascii=False, indent=indent))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
