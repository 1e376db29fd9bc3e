"""`reconciler outcomes --follow` prints each outcome as it comes, until Ctrl-C."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.prepared import Prepared
from tests.acceptance.processes import environment, run_command
from tests.faults.server import Server, running_server
from tests.integration.ledgers import NOW
from tests.waiting import wait_until
from worker.diagnosis.model import Cause
from worker.ledger.outcomes import Outcome, OutcomeType


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Redis that the test may end and start again."""
    with running_server(tmp_path / "redis") as started:
        yield started


class Following:
    """The running command."""

    def __init__(self, process: Prepared, out: Path, err: Path) -> None:
        self.process, self._out, self._err = process, out, err

    @property
    def shown(self) -> str:
        return self._out.read_text()

    @property
    def said(self) -> str:
        return self._err.read_text()

    def interrupted(self) -> int:
        """Its exit code after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def following(server: Server, home: Path, *options: str) -> Iterator[Following]:
    """Run it, and wait until it follows."""
    out, err = home / "out", home / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        env, streams = environment(REDIS_URL=server.url), {1: stdout.fileno(), 2: stderr.fileno()}
        process = Prepared(home, env, ["outcomes", "--follow", *options], streams)
    found = Following(process, out, err)
    try:

        def follows() -> bool:
            append(server, "before")
            return "before" in found.shown

        wait_until(follows, 60, 0.3, what="the first outcome")
        yield found
    finally:
        process.kill()
        process.wait()


def append(server: Server, event: str) -> dict[str, object]:
    """Append an outcome, and return it as JSON."""
    text = Outcome(OutcomeType.CLOSED, "acc", NOW, "cal", event, Cause.EVENT_GONE).to_json()
    server.client.xadd("reconciler:outcomes", {"outcome": text})
    found: dict[str, object] = json.loads(text)
    return found


def test_what_comes_is_printed_and_nothing_from_before(server: Server, tmp_path: Path) -> None:
    """A line each: when, what, of which event, and why; Ctrl-C ends it with 0."""
    append(server, "long ago")
    with following(server, tmp_path) as found:
        append(server, "now on")
        wait_until(lambda: "now on" in found.shown, 10, what="the next outcome")

        assert found.interrupted() == 0

    assert (
        f"{NOW:%Y-%m-%d %H:%M:%S}  closed              acc cal 'now on'  event_gone"
        in found.shown.splitlines()
    )
    assert "long ago" not in found.shown
    assert found.said == ""


def test_an_outage_of_redis_is_said_once_and_waited_out(server: Server, tmp_path: Path) -> None:
    """What came in the meantime is printed too; with --json as it is in the stream."""
    with following(server, tmp_path, "--json") as found:
        server.kill()
        wait_until(lambda: found.said, 30, what="the sentence about the outage")
        server.start()
        expected = append(server, "afterwards")
        wait_until(lambda: "afterwards" in found.shown, 30, what="the outcome after the outage")

        assert found.interrupted() == 0

    assert [json.loads(line) for line in found.shown.splitlines()][-1] == expected
    assert found.said == "Redis is unavailable (it does not answer); going on once it is back.\n"


def test_it_stands_alone(server: Server, tmp_path: Path) -> None:
    """The commands below it list or change, and end."""
    ran = run_command(tmp_path, environment(REDIS_URL=server.url), "outcomes", "--follow", "list")

    assert ran.returncode == 2
    assert "--follow stands alone." in ran.stderr
