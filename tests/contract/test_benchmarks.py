"""The benchmarks and the pages with their tables match."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.report import Report, put
from tests.contract.documents import ROOT

PAGES = [ROOT / "docs" / name for name in ("performance.md", "performance-processes.md")]


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_has_its_table_on_one_page(name: str) -> None:
    """Between its marks, as the command wrote it: a table whose rows are as wide as its header."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    [found] = re.findall(f"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL)

    rows = [line for line in found.splitlines() if line.startswith("|")]
    assert len(rows) > 2
    assert len({row.count("|") for row in rows}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_can_be_run(name: str) -> None:
    """It is a module with the function that the command calls."""
    run = importlib.import_module(f"benchmarks.{name}").run

    assert list(inspect.signature(run).parameters) == ["quick"]


def test_a_table_is_put_between_its_marks(tmp_path: Path) -> None:
    """The text between the marks is replaced, the rest stays; a document without marks is left alone."""
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- it -->\nold\n<!-- /it -->\nAfter\n")
    report = Report(
        "it", "It", ["what", "how much"], [{"what": "calls", "how much": 1.5, "more": 7}], ["So."]
    )

    assert put(page, "it", report.markdown())
    assert not put(page, "other", "text")

    table = "| what | how much |\n| --- | ---: |\n| calls | 1.50 |\n\nSo.\n"
    assert page.read_text() == f"Before\n<!-- it -->\n\n{table}\n<!-- /it -->\nAfter\n"
