"""The tables of ``docs/sandbox.md`` that are made from the code alone.

    python -m tests.contract.sandbox_tables

writes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import put
from sandbox.control.admin import VERBS
from sandbox.personality import TRAITS
from sandbox.world.faults import Fault
from tests.contract.decisions import markdown
from tests.contract.documents import ROOT

MANUAL: Path = ROOT / "docs" / "sandbox.md"


def traits() -> str:
    """Every trait."""
    rows = [
        (f"`{t.name}`", ", ".join(f"`{value}`" for value in t.values), t.question, t.source)
        for t in TRAITS.values()
    ]
    return markdown(("trait", "values, the default first", "what is unknown", "source"), rows)


def verbs() -> str:
    """Every verb of the control plane, with the first sentence of its docstring."""
    rows = [
        (f"`{verb.method} {verb.path}`", f"`{name}`", " ".join((verb.function.__doc__ or "").split()))
        for name, verb in VERBS.items()
    ]
    return markdown(("path", "method", "what it does"), rows)


def faults() -> str:
    """Every kind of fault, from the list in its docstring."""
    lines = " ".join(inspect.cleandoc(Fault.__doc__ or "").split()).split(" - ")[1:]
    rows = [(kind, said) for kind, _, said in (line.partition(": ") for line in lines)]
    return markdown(("kind", "what the client gets; in brackets, the default"), rows)


TABLES: tuple[tuple[str, Callable[[], str]], ...] = (("traits", traits), ("verbs", verbs), ("faults", faults))


if __name__ == "__main__":
    for name, table in TABLES:
        put(MANUAL, name, table())
