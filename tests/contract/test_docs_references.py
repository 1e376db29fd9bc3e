"""Everything the documents refer to exists: log events, links, files, code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.documents import DOCUMENTS, ROOT, firsts, table
from worker.ledger.outcomes import OutcomeType


def test_every_log_event_is_explained() -> None:
    """The table of events lists exactly what config, worker and tasks log."""
    names, patterns = _logged()
    explained = firsts(table("docs/watching.md", "event"))
    composed = [name for name in explained if name not in names]

    assert len(explained) == len(set(explained))
    assert names - set(explained) == set()
    assert [name for name in composed if not any(re.fullmatch(p, name) for p in patterns)] == []
    assert [p for p in patterns if not any(re.fullmatch(p, name) for name in composed)] == []
    # Composed names come from an outcome's type.
    assert {name.split(".")[1] for name in composed} <= {
        kind.value.removeprefix("account_") for kind in OutcomeType
    }


def _logged() -> tuple[set[str], set[str]]:
    """The names logged literally, and patterns of the composed ones."""
    names, patterns = set(), set()
    levels = {f"log.{level}" for level in ("debug", "info", "warning", "error", "critical", "exception")}
    for package in ("config", "worker", "tasks"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and ast.unparse(node.func) in levels):
                    continue
                event = node.args[0]
                if isinstance(event, ast.JoinedStr):
                    patterns.add(re.sub(r"\\\{.+?\\\}", "[a-z_]+", re.escape(ast.unparse(event)[2:-1])))
                else:
                    names.add(ast.literal_eval(event))
    return names, patterns


def _links() -> Iterator[tuple[Path, str]]:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                yield path, target


@pytest.mark.parametrize(
    ("path", "target"), [pytest.param(p, t, id=f"{p.relative_to(ROOT)}: {t}") for p, t in _links()]
)
def test_every_internal_link_resolves(path: Path, target: str) -> None:
    """The file exists, and so does the heading that a link names."""
    name, _, anchor = target.partition("#")
    file = (path.parent / name).resolve() if name else path

    assert file.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = [re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings]
        assert anchor in anchors


def test_every_file_that_a_document_names_exists() -> None:
    """Paths in backticks that look like files of this repository exist."""
    path_like = re.compile(r"`((?:config|tasks|worker|sandbox|tests|docs)/[\w./-]*)`")
    named = {(path.name, word) for path in DOCUMENTS for word in path_like.findall(path.read_text("utf-8"))}

    assert {(where, word) for where, word in named if not (ROOT / word).exists()} == set()
