"""What commands print, on any terminal or pipe."""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from config.terminal import Line, shown, shown_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _ReaderGone(BaseException):
    """Whoever read the output has gone. Neither click nor rich knows it, who would make a failure of it."""


class _Output(io.FileIO):
    """Standard output."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise _ReaderGone from None


@contextmanager
def done_with_its_reader() -> Iterator[None]:
    """End the command, as one that is done, when its reader has seen enough, as `head` has."""
    before = sys.stdout
    try:
        descriptor = before.fileno()
    except (AttributeError, io.UnsupportedOperation):  # It is closed, or a test's.
        yield
        return
    before.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "wb", closefd=False)),
        before.encoding,
        before.errors,
        line_buffering=before.isatty(),
    )
    try:
        yield
        sys.stdout.flush()
    except _ReaderGone:
        # What is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        sys.exit(0)
    finally:
        sys.stdout = before


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


def say_wrapped(line: Line) -> None:
    """Print one line in its styles; where a terminal is too narrow, its last part goes on below itself."""
    *head, (text, style) = line or [("", "")]
    indent = sum(len(before) for before, _ in head)
    room = max(20, width() - indent) if sys.stdout.isatty() else len(text) + 1
    for part in wrap(text, room, break_on_hyphens=False) or [""]:
        say_styled([*head, (part, style)])
        head = [(" " * indent, "")]


def say_styled(line: Line, *, err: bool = False) -> None:
    """Print one line in its styles, on a terminal that has any."""
    styles: dict[str, dict[str, Any]] = {"bold": {"bold": True}, "dim": {"dim": True}}
    if not os.environ.get("NO_COLOR"):
        styles |= {"green": {"fg": "green"}, "yellow": {"fg": "yellow"}, "red": {"fg": "red", "bold": True}}
    styled = "".join(click.style(text, **styles.get(style, {})) for text, style in line)
    # Otherwise click finds out whether the stream is a terminal.
    click.echo(styled, err=err, color=False if os.environ.get("TERM") in {"dumb", "unknown"} else None)


def width() -> int:
    """How many columns the terminal has, even if only some of the streams lead to it; 80 without one."""
    if os.environ.get("COLUMNS", "").isdigit():
        return int(os.environ["COLUMNS"])
    for descriptor in range(3):
        try:
            return os.get_terminal_size(descriptor).columns or 80
        except OSError:
            continue
    return 80


def say_some(lines: Sequence[str], most: int) -> None:
    """Print the first lines, indented, and how many more there are."""
    for line in lines[:most]:
        say(f"  {line}")
    if len(lines) > most:
        say(f"  and {len(lines) - most:,} more")


def suggest(head: str, commands: Sequence[Sequence[str]]) -> None:
    """Print commands of ours to type next, if there are any, under a line that says what for."""
    if commands:
        say(head, err=True)
        for words in commands:
            say(f"  reconciler {shlex.join(words)}", err=True)


def say_not_tracked(sub: str, calendar_id: str, event_id: str) -> None:
    """Print that an event is not tracked."""
    say(f"The event {event_id} in calendar {calendar_id} of {sub} is not tracked.", err=True)


def suggest_events(command: str, nearest: Sequence[Sequence[str]]) -> None:
    """Print what to type for the ids that are nearest to unknown ones: an event's, or an account's alone."""
    events = ((command, *ids) if len(ids) > 1 else ("list", "--account", *ids) for ids in nearest)
    suggest("Did you mean:", list(events))


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
