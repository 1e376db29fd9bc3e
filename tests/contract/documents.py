"""The documents and their tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(ROOT / "docs").glob("*.md"),
]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tables(text: str) -> Iterator[list[list[str]]]:
    """The tables of a Markdown text as rows of cells, header first."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        yield [rows[0], *rows[2:]]


def table(name: str, head: str, *, after: str = "") -> list[list[str]]:
    """The rows of the one table whose header begins with this word, after the text `after`."""
    text = text_of(name)
    [table] = [table for table in tables(text[text.index(after) :]) if table[0][0] == head]
    return table[1:]


def code(cell: str) -> list[str]:
    """A cell's text in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def firsts(rows: Iterable[list[str]]) -> list[str]:
    """The first name in each row."""
    return [name for row in rows for name in code(row[0])]


def shell_lines(text: str) -> Iterator[str]:
    """The commands of a document's shell blocks: those of `sh`, and of `console` what follows the prompt."""
    for indent, kind, block in re.findall(
        r"^( *)```(sh|console)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL
    ):
        whole = re.sub(r" *\\\n\s*", " ", re.sub(rf"^{indent}", "", block, flags=re.MULTILINE))
        for line in whole.splitlines():
            if kind == "sh" or line.startswith("$ "):
                yield line.removeprefix("$ ")


def reference() -> str:
    """All sections of what is known of Cronofy, in their order."""
    names = ("api", "writes", "notices", "unknown")
    return "".join(text_of(f"docs/cronofy-{name}.md") for name in names)


def all_tables() -> list[list[list[str]]]:
    return list(tables(text_of("docs/contract.md")))
