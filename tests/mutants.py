"""Mutation testing of the decisions: ``make mutants``.

mutmut changes the diagnosis, the last resort, the replacement policy, the schedule and the reading of times
in one place at a time, and runs their unit tests against each change; a mutant that no test notices survives.
This shows what each survivor changed and a table, and writes the table as JSON to ``benchmarks/results``;
``--document FILE`` puts it into a document, too. The modules and their tests are named in ``pyproject.toml``.
Exits with 1 where fewer of a module's mutants are killed than `LEAST`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console

from benchmarks.report import Report, Value, put

LEAST = 0.97
#: A run takes a few minutes; one that hangs is killed.
SECONDS = 1800
MUTANTS = Path("mutants")
#: mutmut's exit codes for a noticed mutant: a test failed, pytest itself failed, or it timed out.
KILLED = frozenset({1, 3, 24, -24, 36, 152, 255})


def main() -> int:
    """Run mutmut from scratch and show the results."""
    parser = argparse.ArgumentParser(prog="tests.mutants")
    parser.add_argument("--document", type=Path, metavar="FILE", help="put the table into this document")
    document: Path | None = parser.parse_args().document
    shutil.rmtree(MUTANTS, ignore_errors=True)
    mutmut = [sys.executable, "-m", "mutmut"]
    subprocess.run([*mutmut, "run", "--max-children", str(os.cpu_count() or 1)], check=True, timeout=SECONDS)
    codes = {path: _codes(path) for path in sorted(MUTANTS.rglob("*.meta"))}
    survivors = [name for found in codes.values() for name, code in found.items() if code not in KILLED]
    for name in survivors:
        subprocess.run([*mutmut, "show", name], check=True)
    rows = [_row(path, found) for path, found in codes.items() if found]
    report = Report(
        "mutants",
        "Mutants",
        ["module", "mutants", "killed", "survived", "% killed"],
        rows,
        settings={"least": LEAST},
    )
    report.show(Console(width=120))
    report.write()
    if document and not put(document, report.name, report.markdown()):
        parser.error(f"{document} has no marks for {report.name}")
    return int(any(float(row["% killed"] or 0) < 100 * LEAST for row in rows))


def _codes(path: Path) -> dict[str, int | None]:
    """The result of each mutant of a module."""
    codes: dict[str, int | None] = json.loads(path.read_text())["exit_code_by_key"]
    undecided = [name for name, code in codes.items() if code is None]
    if undecided:
        raise SystemExit(f"mutmut left {len(undecided)} mutants of {path} untried.")
    return codes


def _row(path: Path, codes: dict[str, int | None]) -> dict[str, Value]:
    count = Counter(code not in KILLED for code in codes.values())
    return {
        "module": str(path.relative_to(MUTANTS).with_suffix("")),
        "mutants": len(codes),
        "killed": count[False],
        "survived": count[True],
        "% killed": 100 * count[False] / len(codes),
    }


if __name__ == "__main__":
    sys.exit(main())
