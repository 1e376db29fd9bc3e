"""Whether the workers and beats of this host make progress: a file each, which their loops keep writing to.

`healthcheck` reads them every few seconds, so only the standard library is imported here. A process locks its
file for as long as it lives, so the file of a dead one is recognised at once, whatever became of its pid. It
writes the host's monotonic clock, which no change of the time of day moves.
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

#: How often a loop that has nothing else to do writes.
EVERY_SECONDS = 2.0
#: A process that was silent for longer is stuck. One that waits for a Redis which takes connections and
#: answers none may be silent for half a minute at a time, and is not.
STALE_SECONDS = 90.0


def liveness_dir() -> Path:
    """Where this user's processes on this host keep their files (TMPDIR moves it)."""
    return Path(tempfile.gettempdir()) / f"reconciler-{os.getuid()}"


@dataclass(frozen=True, slots=True)
class Living:
    """A living process of a role, and how long ago its loop last wrote."""

    pid: int
    age_seconds: float


class LivenessFile:
    """One process's file. OSError where it cannot be made."""

    def __init__(self, role: str) -> None:
        """Make the file for this process and remove those of dead ones."""
        directory = liveness_dir()
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        if not _is_ours(directory):
            raise PermissionError(f"{directory} is not a directory of this user alone")
        living(role, remove_dead=True)
        # Locked before it has its name, so that nobody takes it for a dead one's.
        hidden = directory / f".{role}-{os.getpid()}"
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.write()
        hidden.rename(directory / f"{role}-{os.getpid()}")

    def write(self) -> None:
        """The loop goes round."""
        with suppress(OSError):
            os.pwrite(self._file, b"%020.3f" % time.monotonic(), 0)


def living(role: str, *, remove_dead: bool = False) -> list[Living]:
    """Every process of this role, user and host that lives, stopped ones included."""
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
    """What the loop of this process calls; where no file can be kept, it logs that once and does nothing."""
    try:
        return LivenessFile(role).write
    except OSError as error:
        import structlog  # noqa: PLC0415 - twice the CPU time of all else that `healthcheck` imports

        log = structlog.get_logger()
        log.warning("health.unknown", reason=str(error))
        return lambda: None


def report_while_connecting(connection: Any, report: Callable[[], None]) -> None:
    """Have a Kombu connection report between two tries to connect, each second."""
    connect = connection.ensure_connection

    def patiently(*args: Any, callback: Callable[[], None] | None = None, **kwargs: Any) -> Any:
        def waiting() -> None:
            report()
            if callback is not None:
                callback()

        return connect(*args, callback=waiting, **kwargs)

    connection.ensure_connection = patiently


def _is_ours(directory: Path) -> bool:
    """A directory that only this user can have put something into."""
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
