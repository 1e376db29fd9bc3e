"""The code of a former version, from this repository's history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The commit that was version 0.1.0.
V0_1_0 = "6a3d48d"


class NoHistory(Exception):
    """The commit is not here: this is no clone, or a shallow one."""


def unpack(commit: str, into: Path) -> Path:
    """Put the tree of a commit into this directory, and return it; NoHistory if the commit is not here."""
    try:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True, timeout=60
        )
    except (OSError, subprocess.CalledProcessError):
        raise NoHistory(f"commit {commit} is not in this repository's history") from None
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x", "-C", str(into)], input=archive.stdout, check=True, timeout=60)
    return into


def environment(tree: Path) -> dict[str, str]:
    """The environment of a process whose modules are those of this tree; no setting of ours."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
    return outer | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}


def interpreter() -> list[str]:
    """Python, with nothing of the working directory on its path."""
    return [sys.executable, "-P"]
