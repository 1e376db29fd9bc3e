"""What a command does not need, it does not import, and so answers at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.integration.world import Begin

#: Names what was imported, after the command's own output.
RUN = """
import sys
from worker.cli import main
try:
    main()
finally:
    print("imported:", *sys.modules)
"""
#: Only what runs the fleet needs these.
HEAVY = {"celery", "kombu.connection", "amqp", "httpx", "jinja2", "structlog"}
#: Nor does a command that only reads the ledger need these.
SEALING = {"cryptography.fernet", "idna"}
#: Nor does a command without a ledger need these.
LIBRARIES = {"redis", "pydantic", "rich", "cryptography"}


def imported(*arguments: str, **settings: str) -> set[str]:
    """The modules that a command has imported by its end."""
    environment = {f"RECONCILER_{name}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return set(done.stdout.partition("imported: ")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["healthcheck", "beat"]], ids=lambda words: words[0])
def test_a_command_without_a_ledger_imports_none_of_the_libraries(arguments: list[str]) -> None:
    """The help shows all commands and imports none; the containers' probe runs every few seconds."""
    found = imported(*arguments)

    assert "click" in found
    assert not found & (HEAVY | LIBRARIES)


@pytest.mark.parametrize("command", ["status", "list", "explain"])
def test_a_command_that_reads_the_ledger_imports_nothing_of_the_fleet(
    begin: Begin, redis_url: str, prefix: str, command: str
) -> None:
    """Neither Celery nor the HTTP client nor the templates of emails, nor what seals secrets."""
    world = begin()
    world.track("e1")
    event = ["--offline", world.sub, world.calendar_id, "e1"] if command == "explain" else []

    found = imported(command, *event, REDIS_URL=redis_url, KEY_PREFIX=prefix)

    assert "redis" in found
    assert not found & (HEAVY | SEALING | {"worker.bootstrap", "worker.app"})
