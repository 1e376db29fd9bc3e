"""Directories for what only their owner may read: kept mail, and the embedded server's data."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(directory: Path) -> None:
    """Create the directory if needed, and close one of this user's to everybody else; OSError if it cannot.

    What others own, or share as they share /tmp, is left as it is: `is_open` tells.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid == os.geteuid() and found.st_mode & _OTHERS and not found.st_mode & stat.S_ISVTX:
        directory.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def is_open(directory: Path) -> bool:
    """Whether the directory exists and others than its owner may read it or look into it."""
    try:
        return bool(directory.stat().st_mode & _OTHERS)
    except OSError:
        return False
