"""How many processes `reconciler worker` forks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.acceptance.processes import environment
from tests.waiting import wait_until
from worker.host.embedded import embedded_server

#: The command on a machine of 24 cores.
ON_24_CORES = """
import os
os.cpu_count = lambda: 24
os.sched_getaffinity = lambda _: set(range(24))
from worker.cli import main
main()
"""


@pytest.mark.parametrize(
    ("options", "expected"), [((), range(1, 9)), (("--concurrency", "3"), [3])], ids=["default", "named"]
)
def test_a_worker_on_a_large_machine_stays_small(
    tmp_path: Path, options: tuple[str, ...], expected: Collection[int]
) -> None:
    """At most eight by default; what the command line says wins."""
    client = {"CRONOFY_CLIENT_ID": "client", "CRONOFY_CLIENT_SECRET": "secret", "LOG_FORMAT": "json"}
    log = tmp_path / "log"
    with embedded_server(tmp_path / "redis") as url, log.open("wb") as output:
        env = environment(REDIS_URL=url, VAULT_KEYS=Fernet.generate_key().decode(), **client)
        command = [sys.executable, "-c", ON_24_CORES, "worker", *options]
        worker = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=output, stderr=output)
        try:
            ready = wait_until(lambda: _ready(log), 30, what="the worker to be ready")
        finally:
            worker.terminate()
            worker.wait(20)

    assert ready is not None
    assert ready["processes"] in expected


def _ready(log: Path) -> dict[str, Any] | None:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return next((line for line in lines if line["event"] == "worker.ready"), None)
