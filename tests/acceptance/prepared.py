"""Commands in processes that have imported everything before they begin, which is most of what one costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from worker.cli import COMMANDS, main

#: Each process is forked from one that this process starts, which runs nothing and has no threads.
_FORKED = get_context("forkserver")
_MODULES = {f"worker.commands.{module}" for module, _ in COMMANDS.values()}
_FORKED.set_forkserver_preload([__name__, *sorted(_MODULES)])
#: What fits into a pipe before anybody reads it.
_PIPE_BYTES = 65536


def run_prepared(
    home: Path, env: Mapping[str, str], args: Sequence[str], given: str | None, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a `reconciler` command to its end, as `subprocess.run` would; `given` is piped to it."""
    read, written = _FORKED.Pipe(duplex=False)
    with TemporaryDirectory() as place, read, written:
        text = (given or "").encode()
        assert len(text) <= _PIPE_BYTES
        os.write(written.fileno(), text)
        process = _FORKED.Process(target=_begin, args=(Path(place), home, dict(env), args, read))
        process.start()
        written.close()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(args, seconds)
        out, err = ((Path(place) / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(args, process.exitcode, out, err)


def _begin(place: Path, home: Path, env: dict[str, str], args: Sequence[str], given: Connection) -> None:
    """In the forked process: become what the command line would have started."""
    os.dup2(given.fileno(), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it is open as long as the process
    os.chdir(home)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = ["reconciler", *args]
    main()
