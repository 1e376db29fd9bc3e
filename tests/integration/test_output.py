"""A terminal or pipe that cannot show a character ends no command: what it prints is escaped."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from cryptography.fernet import Fernet

from tests.acceptance.prepared import Prepared
from tests.acceptance.processes import RECONCILER, environment
from tests.integration.ledgers import an_event
from worker.ledger.ledger import Ledger

EVENT_ID = "besprechung-ü-☕-😀"


@dataclass(frozen=True, slots=True)
class Terminal:
    """Runs commands whose output has an encoding."""

    home: Path
    env: dict[str, str]

    def run(self, encoding: str, *args: str) -> str:
        """A command's output; it must succeed."""
        env = {**self.env, "PYTHONIOENCODING": encoding}
        ran = subprocess.run(
            [RECONCILER, *args], cwd=self.home, env=env, capture_output=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stderr.decode(encoding)
        # click takes ASCII for a mistake, and writes UTF-8.
        return ran.stdout.decode("utf-8" if encoding == "ascii" else encoding)


@pytest.fixture
def terminal(tmp_path: Path, redis_url: str, prefix: str, ledger: Ledger) -> Terminal:
    """A ledger with an event whose id no old encoding has."""
    ledger.track("acc", an_event(EVENT_ID))
    return Terminal(
        tmp_path,
        environment(REDIS_URL=redis_url, KEY_PREFIX=prefix, VAULT_KEYS=Fernet.generate_key().decode()),
    )


@pytest.mark.parametrize("encoding", ["iso8859-2", "ascii"])
def test_text_is_escaped_where_it_has_to_be(terminal: Terminal, encoding: str) -> None:
    """Also that of the program itself, as in a command's help."""
    assert "besprechung-" in terminal.run(encoding, "explain", "--offline", "acc", "cal", EVENT_ID)
    assert "Celery" in terminal.run(encoding, "worker", "--help")


def test_json_stays_json(terminal: Terminal) -> None:
    """With the same text in it."""
    answer = json.loads(terminal.run("cp1252", "explain", "--offline", "--json", "acc", "cal", EVENT_ID))
    state = json.loads(terminal.run("cp1252", "status", "--json"))

    assert answer["event_id"] == state["soonest"][0]["event_id"] == EVENT_ID


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "list",
        "list --json",
        "status",
        "report",
        "letters",
        "explain --offline acc cal event",
        "doctor",
    ],
)
def test_a_reader_that_has_seen_enough_is_no_error(terminal: Terminal, ledger: Ledger, command: str) -> None:
    """As `head` has, after its first line: the command ends with 0 and says nothing about it."""
    ledger.track("acc", an_event("event"))
    reader, writer = os.pipe()
    os.close(reader)

    with TemporaryFile("w+") as said:
        ran = Prepared(terminal.home, terminal.env, command.split(), {1: writer, 2: said.fileno()})
        os.close(writer)
        code = ran.wait(60)
        said.seek(0)

        assert (code, said.read()) == (0, "")
