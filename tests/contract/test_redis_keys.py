"""The ledger's keys are listed in the head of common.lua, named in keys.py, and spelled nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.documents import ROOT
from worker.ledger.keys import Keys

SCRIPTS = ROOT / "worker/ledger/scripts"
NAMES = ROOT / "worker/ledger/keys.py"
#: Each key in the list, with the suffix that varies, if any.
LISTED = re.findall(
    r"^--   P:(\S+?)(:[A-Z]+)? +(?:hash|set|zset|string|list|stream) ",
    (SCRIPTS / "common.lua").read_text(),
    re.MULTILINE,
)
KEYS = Keys("reconciler")
NAMED = {name: getattr(KEYS, name) for name, value in vars(Keys).items() if hasattr(value, "name")}


def test_every_key_that_python_names_is_listed() -> None:
    """As one of the ledger, or as one for each id."""
    listed = {f"reconciler:{name}:ID" if each else f"reconciler:{name}" for name, each in LISTED}

    assert {key("ID") if callable(key) else key for key in NAMED.values()} <= listed


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.lua")), ids=lambda path: path.stem)
def test_scripts_spell_no_other_key(script: Path) -> None:
    """Every key that a script derives from the prefix is in the list."""
    spelled = re.findall(r"P \.\. ':([a-z:-]+?):?'", script.read_text())

    assert set(spelled) <= {name for name, _ in LISTED}


def _spelled(source: str) -> Iterator[str]:
    """A module's strings that are a key, or the part after the prefix."""
    names = "|".join(re.escape(name) for name, _ in LISTED)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
            if re.match(rf"(reconciler)?:({names})(:|$)", text):
                yield text


def test_no_other_module_spells_a_key() -> None:
    """Other modules ask the ledger."""
    modules = [path for folder in ("worker", "tasks", "sandbox") for path in (ROOT / folder).rglob("*.py")]
    found = {
        str(path.relative_to(ROOT)): sorted(_spelled(path.read_text())) for path in modules if path != NAMES
    }

    assert {path: keys for path, keys in found.items() if keys} == {}
    assert list(
        _spelled("""f"{prefix}:events:{sub}", prefix + ":mail:", b":refused", "reconciler:outbox" """)
    )
