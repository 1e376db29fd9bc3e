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


def words_to_read(text: str) -> int:
    """How many words a page has; those of tables and blocks of code count half."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    code_of = r"^( *)```.*?^\1```$"
    blocks = " ".join(match[0] for match in re.finditer(code_of, text, re.MULTILINE | re.DOTALL))
    prose = re.sub(code_of, "", text, flags=re.MULTILINE | re.DOTALL)
    rows = [line for line in prose.splitlines() if line.lstrip().startswith("|")]
    halves = len(blocks.split()) + sum(len(row.replace("|", " ").split()) for row in rows)
    return len(prose.split()) - sum(len(row.split()) for row in rows) + halves // 2


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
