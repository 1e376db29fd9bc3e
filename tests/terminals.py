"""Programs on a terminal of a test's own: keys are pressed, and what it shows is read."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROWS, COLUMNS = 24, 80


class Typist:
    """Types at a program, and reads what it shows."""

    def __init__(self, terminal: int, process: subprocess.Popen[bytes]) -> None:
        self._terminal = terminal
        self.process = process
        self.shown = ""

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._terminal, text.encode())

    def sees(self, text: str, seconds: float = 60) -> bool:
        """Whether the terminal shows the text in time; `shown` has all that it ever showed."""
        deadline = time.monotonic() + seconds
        while text not in self.shown and time.monotonic() < deadline:
            if select.select([self._terminal], [], [], 0.5)[0]:
                try:
                    self.shown += os.read(self._terminal, 65536).decode(errors="replace")
                except OSError:  # All of its programs have ended.
                    break
        return text in self.shown


@contextmanager
def on_a_terminal(
    command: Sequence[str | Path], env: Mapping[str, str], home: Path | None = None
) -> Iterator[Typist]:
    """Run a program on a terminal of 80 by 24; killed if still running at the end."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    sized = {name: value for name, value in env.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        command, cwd=home, env=sized, stdin=its, stdout=its, stderr=its, start_new_session=True
    )
    os.close(its)
    try:
        yield Typist(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
