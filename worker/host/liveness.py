"""Whether this host's workers and beats make progress: each loop keeps writing to its own file.

`healthcheck` reads the files every few seconds, so this imports only the standard library. A process keeps
its file locked while it lives, so a dead one's is recognised even if its pid was reused. The file holds the
host's monotonic clock, which clock changes do not affect.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

#: How often an idle loop writes.
EVERY_SECONDS = 2.0
#: A process silent for longer is stuck. One waiting for a Redis that accepts connections but never answers is
#: not stuck, yet may be silent for half a minute.
STALE_SECONDS = 90.0
#: The longest that a process waits before it tries its broker again.
LONGEST_PAUSE_SECONDS = 4.0


def liveness_dir() -> Path:
    """Where this user's processes on this host keep their files (TMPDIR moves it)."""
    return Path(tempfile.gettempdir()) / f"reconciler-{os.getuid()}"


@dataclass(frozen=True, slots=True)
class Living:
    """A living process, and how long ago its loop last wrote."""

    pid: int
    age_seconds: float


def create_file(role: str) -> Callable[[], None]:
    """Create this process's file, and remove those of dead ones; returns what writes to it, or OSError."""
    directory = liveness_dir()
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    if not _is_ours(directory):
        raise PermissionError(f"{directory} is not a directory of this user alone")
    living(role, remove_dead=True)
    # Locked before it gets its name, so that nobody takes it for a dead one's.
    hidden = directory / f".{role}-{os.getpid()}"
    file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write() -> None:
        with suppress(OSError):
            os.pwrite(file, b"%020.3f" % time.monotonic(), 0)

    write()
    hidden.rename(directory / f"{role}-{os.getpid()}")
    return write


def living(role: str, *, remove_dead: bool = False) -> list[Living]:
    """Every living process of this role, user and host, including stopped ones."""
    directory, found = liveness_dir(), []
    if not directory.exists() or not _is_ours(directory):
        return []
    for path in directory.glob(f"{role}-*"):
        with suppress(FileNotFoundError):
            written = _read_if_alive(path)
            if written is not None:
                found.append(Living(int(path.name.rpartition("-")[2]), time.monotonic() - written))
            elif remove_dead:
                path.unlink()
    return found


@cache
def reporter(role: str) -> Callable[[], None]:
    """The function for this process's loop to call; if no file can be kept, it does nothing, logged once."""
    try:
        return create_file(role)
    except OSError as error:
        import structlog  # noqa: PLC0415 - twice the CPU time of everything else `healthcheck` imports

        log = structlog.get_logger()
        log.warning("health.unknown", reason=str(error))
        return lambda: None


def report_while_connecting(connection: Any, report: Callable[[], None]) -> None:
    """Make a Kombu connection report every second while it retries, which it does every few seconds."""
    connect = connection.ensure_connection

    def patiently(*args: Any, callback: Callable[[], None] | None = None, **kwargs: Any) -> Any:
        def waiting() -> None:
            report()
            if callback is not None:
                callback()

        # By default the pause grows to half a minute, however soon the broker is back.
        return connect(*args, callback=waiting, **{"interval_max": LONGEST_PAUSE_SECONDS, **kwargs})

    connection.ensure_connection = patiently


def _is_ours(directory: Path) -> bool:
    """Whether only this user can have written to the directory."""
    found = directory.lstat()
    return found.st_uid == os.getuid() and found.st_mode & 0o170022 == 0o040000


def _read_if_alive(path: Path) -> float | None:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return float(os.pread(file, 20, 0))
    finally:
        os.close(file)
    return None
