"""Directories and files for what only their owner may read: kept mail, and the embedded server's data."""

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


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read: all of it and on the disk, or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        beside.rename(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
