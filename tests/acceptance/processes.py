"""The console script in separate processes: started, watched, and ended by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from tests.acceptance.prepared import Prepared, fits

RECONCILER = Path(sys.executable).with_name("reconciler")
#: What `up` starts is not among them: each of its processes is a new one.
ROLES = frozenset(["worker", "beat", "serve"])
PY_SPY = Path(sys.executable).with_name("py-spy")


def environment(**settings: str) -> dict[str, str]:
    """A child process's environment: these settings and no other of ours."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
    return outer | {f"RECONCILER_{name}": value for name, value in settings.items()}


def run_command(
    home: Path, env: Mapping[str, str], *args: str, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a `reconciler` command to its end, within two minutes; `given` is piped to its standard input."""
    if not fits(env):
        return subprocess.run(
            [RECONCILER, *args],
            cwd=home,
            env=env,
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        # What a test gives fits into a pipe that nobody reads yet.
        with os.fdopen(writer, "w") as write:
            write.write(given or "")
        process = Prepared(home, env, args, {0: read.fileno(), 1: out.fileno(), 2: err.fileno()})
        try:
            code = process.wait(120)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(args, code, out.read(), err.read())


def children_of(pid: int) -> list[int]:
    """The pids of a process's children, from /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def runs(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Child:
    """A running `reconciler` command, in its own process group."""

    def __init__(self, home: Path, env: Mapping[str, str], log: Path, *args: str) -> None:
        self.process: subprocess.Popen[bytes] | Prepared
        with log.open("ab") as output:
            if args[0] in ROLES and fits(env):
                self.process = Prepared(home, env, args, {1: output.fileno(), 2: output.fileno()})
                return
            self.process = subprocess.Popen(
                [RECONCILER, *args], cwd=home, env=env, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def role(self, name: str) -> int | None:
        """The pid of the child of `up` with this role."""
        started = b"\0".join([b"-P", b"-m", b"worker.cli", name.encode()])
        # With setproctitle installed, Celery sets process titles.
        title = {"worker": b"[celeryd: ", "beat": b"[celery beat]"}.get(name, started)
        for pid in children_of(self.pid):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if line.partition(b"\0")[2].startswith(started) or line.startswith(title):
                    return pid
        return None

    def ask_to_end(self) -> None:
        self.process.terminate()

    def end(self, seconds: float = 20.0) -> int:
        """SIGTERM, a bounded wait, then SIGKILL for what is left of the group; returns the exit code.

        If it does not end, the report shows where it hangs.
        """
        self.ask_to_end()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            subprocess.run([PY_SPY, "dump", "--pid", str(self.pid)], check=False)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait(5)


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo, its working directory, and its output."""

    process: subprocess.Popen[bytes]
    home: Path
    output: Path


@contextmanager
def running_demo(home: Path, elsewhere: Path, *options: str) -> Iterator[Demo]:
    """Start `reconciler demo` in `home` at twice the usual speed; killed if still running at the end."""
    output = elsewhere / "demo.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [RECONCILER, "demo", "--speed", "2", *options],
            cwd=home,
            # A proxy that could not be used, as on machines that reach the world only through one.
            env=environment() | {"COLUMNS": "160", "HTTP_PROXY": "http://127.0.0.1:1"},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield Demo(process, home, output)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)
