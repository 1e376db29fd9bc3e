"""The table of a fleet's status that a terminal shows again and again, by rich."""

from __future__ import annotations

import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from worker.ledger.connection import sentence
from worker.status.snapshot import Status
from worker.status.table import SHOWN, status_lines

#: How often a watched table is refreshed.
REFRESH_SECONDS = 2.0
#: Above the watched table, which may need all the rest of the terminal.
QUIT = Text("q to quit", style="dim")


def watch(read: Callable[[], Status]) -> None:
    """Refresh the table every two seconds until q or Ctrl-C; it shows and waits out an outage of Redis."""
    console = Console()
    table: RenderableType = ""
    with (
        suppress(KeyboardInterrupt),
        _keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            try:
                status = read()
                table = _table(status)
                live.update(Group(QUIT, _fitting(status, console)), refresh=True)
            except RedisError as error:
                why = sentence(error) or f"Redis is unavailable ({type(error).__name__})"
                away = Text(f"{why.rstrip('.')}; retrying.", style="red")
                live.update(Group(QUIT, away, table), refresh=True)
            if pressed(REFRESH_SECONDS) in ("q", "Q"):
                break
    console.print(table)


def _fitting(status: Status, console: Console) -> RenderableType:
    """The table with as much as the terminal has room for below the line that says how to quit."""
    table = _table(status)
    for starting in range(SHOWN, -1, -1):
        if len(console.render_lines(table)) < console.height:
            break
        table = _table(status, starting, brief=True)
    return table


def _table(status: Status, starting: int = SHOWN, *, brief: bool = False) -> RenderableType:
    lines = status_lines(status, starting, brief=brief)
    # An id may be longer than the terminal is wide.
    return Group(*(Text.assemble(*line, overflow="fold") for line in lines))


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits N seconds for a key and returns it; without a terminal it only waits."""
    if not sys.stdin.isatty():
        yield lambda seconds: time.sleep(seconds) or ""  # type: ignore[func-returns-value]
        return

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
