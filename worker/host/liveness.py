"""The pulse of a worker or a beat on this host: a file that its loop writes to, for `reconciler healthcheck`.

Nothing but the standard library is imported here, since a container asks every few seconds. A process holds
a lock on its file for as long as it lives, so the file of a dead one is told at once, whatever became of its
pid; what it writes is the host's monotonic clock, which no change of the time of day moves.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: How often a loop that has nothing else to do writes.
EVERY_SECONDS = 2.0
#: A process that was silent for longer is stuck. One that waits for a Redis which takes connections and
#: answers none may be silent for half a minute at a time, and is not.
STALE_SECONDS = 90.0


def pulse_dir() -> Path:
    """Where this user's processes on this host keep their files (TMPDIR moves it)."""
    return Path(tempfile.gettempdir()) / f"reconciler-{os.getuid()}"


@dataclass(frozen=True, slots=True)
class Sign:
    """A living process of a role, and how long ago its loop last wrote."""

    pid: int
    age_seconds: float


class Pulse:
    """One process's file. OSError where it cannot be made."""

    def __init__(self, role: str) -> None:
        """Make the file for this process and forget those of dead ones."""
        directory = pulse_dir()
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
        if not _is_ours(found):
            raise PermissionError(f"{directory} is not a directory of this user alone")
        living_signs(role, forget_dead=True)
        # Locked before it has its name, so that nobody takes it for a dead one's.
        hidden = directory / f".{role}-{os.getpid()}"
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.beat()
        hidden.rename(directory / f"{role}-{os.getpid()}")

    def beat(self) -> None:
        """The loop goes round."""
        with suppress(OSError):
            os.pwrite(self._file, b"%020.3f" % time.monotonic(), 0)


def living_signs(role: str, *, forget_dead: bool = False) -> list[Sign]:
    """Every process of this role, user and host that lives, stopped ones included."""
    directory, signs = pulse_dir(), []
    try:
        if not _is_ours(directory.lstat()):
            return []
    except FileNotFoundError:
        return []
    for path in directory.glob(f"{role}-*"):
        with suppress(FileNotFoundError):
            written = _read_if_alive(path)
            if written is not None:
                signs.append(Sign(int(path.name.rpartition("-")[2]), time.monotonic() - written))
            elif forget_dead:
                path.unlink()
    return signs


def _is_ours(found: os.stat_result) -> bool:
    """A directory that only this user can have put something into."""
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
