"""A benchmark's results: a table on screen, figures as JSON, and the same table for the documentation."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark's figures. A row maps headings to values; others appear only in the JSON."""

    #: The benchmark's name on the command line and in file names.
    name: str
    title: str
    headings: Sequence[str]
    rows: Sequence[Mapping[str, Value]]
    #: What readers of the figures should know; one sentence each.
    notes: Sequence[str] = ()
    #: This run's parameters: counts, limits, seeds.
    settings: Mapping[str, Value] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title=self.title, title_justify="left")
        for heading in self.headings:
            table.add_column(heading, justify="right" if self._numeric(heading) else "left")
        for row in self._cells():
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False)
        console.print()

    def write(self, folder: Path = RESULTS) -> Path:
        """Write ``NAME.json``; returns its path."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.name}.json"
        content = {
            "name": self.name,
            "title": self.title,
            "machine": machine(),
            "settings": dict(self.settings),
            "rows": [dict(row) for row in self.rows],
            "notes": list(self.notes),
        }
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        return path

    def markdown(self) -> str:
        """The table and its notes as Markdown."""
        alignment = ["---:" if self._numeric(heading) else "---" for heading in self.headings]
        lines = [self.headings, alignment, *self._cells()]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([table, *self.notes]) + "\n"

    def _cells(self) -> list[list[str]]:
        return [[_cell(row.get(heading)) for heading in self.headings] for row in self.rows]

    def _numeric(self, heading: str) -> bool:
        return all(not isinstance(row.get(heading), str) for row in self.rows)


def put(document: Path, name: str, text: str) -> bool:
    """Put a text between the two marks with this name in a document; returns whether it has them."""
    content = document.read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not marked.search(content):
        return False
    document.write_text(marked.sub(lambda _: f"{begin}\n{text}\n{end}", content))
    return True


def machine() -> dict[str, Value]:
    """The machine the figures come from."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value
