"""What commands show by rich, which takes long to import: tables, and how far they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from config.terminal import shown


def say_table(headings: Sequence[str], rows: Iterable[Sequence[str]], unbroken: int = 0) -> None:
    """Print a table, whatever is in it; the first columns, `unbroken` of them, keep to one line each."""
    table = Table(*headings, box=None, pad_edge=False)
    for column in table.columns[:unbroken]:
        column.no_wrap = True
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    Console().print(table)


def progress(text: str) -> Progress:
    """A bar behind this text, on standard error if that is a terminal; it is gone at the end."""
    console = Console(stderr=True)
    columns = (TextColumn(text), BarColumn(), TaskProgressColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
