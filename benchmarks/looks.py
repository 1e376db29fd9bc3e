"""Looks: calls to Cronofy and time for accounts with 1, 10 and 100 pending events.

Every event has its conference already, so each look settles all events of its account. Real Redis, real
HTTP over loopback, no Celery: what is measured is the look itself, in one process with its threads. The
sandbox runs in a process of its own; its ceiling, the reads alone by as many threads, stands beside it.

    python -m benchmarks.looks [--accounts 200]
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
from cryptography.fernet import Fernet
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

from config.logging import configure_logging
from config.settings import load_settings
from sandbox.control import Control
from worker.bootstrap import THREADS, Services, bootstrap
from worker.embedded import embedded_server
from worker.intake import accept
from worker.intake.payloads import ConnectAccount, TrackEvent
from worker.looks import look_at_ready

RESULTS = Path(__file__).parent / "results"
EVENTS_PER_ACCOUNT = (1, 10, 100)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured for one size of account."""

    events_per_account: int
    accounts: int
    calls_per_look: float
    looks_per_second: float
    events_per_second: float
    sandbox_reads_per_second: float


@click.command()
@click.option("--accounts", default=200, show_default=True, help="Accounts of each size.")
def main(accounts: int) -> None:
    """Measure looks, print a table and write benchmarks/results/looks.json."""
    console = Console()
    figures = []
    with (
        tempfile.TemporaryDirectory() as home,
        embedded_server(Path(home)) as redis_url,
        _sandbox() as control,
    ):
        for events in EVENTS_PER_ACCOUNT:
            few = max(10, accounts // events)
            figures.append(_measure(redis_url, control, few, events))
    table = Table(title=f"Looks on {os.cpu_count()} cores, Python {platform.python_version()}")
    for heading in (
        "events an account",
        "accounts",
        "calls a look",
        "looks/s",
        "events/s",
        "sandbox reads/s",
    ):
        table.add_column(heading, justify="right")
    for row in figures:
        table.add_row(
            str(row.events_per_account),
            str(row.accounts),
            f"{row.calls_per_look:.2f}",
            f"{row.looks_per_second:.0f}",
            f"{row.events_per_second:.0f}",
            f"{row.sandbox_reads_per_second:.0f}",
        )
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    content = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "rows": [asdict(f) for f in figures],
    }
    (RESULTS / "looks.json").write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def _sandbox() -> Iterator[Control]:
    """The sandbox as a process of its own, without limits, whose conferences are made at once."""
    with socket.socket() as probe, socket.socket() as smtp:
        probe.bind(("127.0.0.1", 0))
        smtp.bind(("127.0.0.1", 0))
        port, smtp_port = probe.getsockname()[1], smtp.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "worker.cli",
        "sandbox",
        "--port",
        str(port),
        "--smtp-port",
        str(smtp_port),
    ]
    command += ["--per-second", "0", "--per-minute", "0", "--speed", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    try:
        with Control(f"http://127.0.0.1:{port}") as control:
            deadline = time.monotonic() + 20
            while True:
                try:
                    control.health()
                    break
                except httpx.HTTPError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            yield control
    finally:
        process.terminate()
        process.wait()


def _measure(redis_url: str, control: Control, accounts: int, events: int) -> Figures:
    control.reset()
    services = _services(redis_url, control)
    try:
        tokens = _fill(services, control, accounts, events)
        time.sleep(0.1)  # the sandbox's conferences are there after a few milliseconds
        before = len(control.requests("/v1/")) + len(control.requests("/oauth/"))
        services.ledger.promote(accounts)
        begun, done = time.monotonic(), 0
        while done < accounts:
            done += look_at_ready(services, accounts - done)
        took = time.monotonic() - begun
        calls = len(control.requests("/v1/")) + len(control.requests("/oauth/")) - before
        if services.ledger.counters()["outcome:assigned"] != accounts * events:
            raise SystemExit("Not every event was settled: the figures would mean nothing.")
        ceiling = _reads_per_second(control, tokens)
    finally:
        services.close()
    return Figures(events, accounts, calls / accounts, accounts / took, accounts * events / took, ceiling)


def _services(redis_url: str, control: Control) -> Services:
    settings = load_settings(
        redis_url=redis_url,
        key_prefix=f"bench-{time.monotonic_ns()}",
        vault_keys=Fernet.generate_key().decode(),
        cronofy_client_id="sandbox",
        cronofy_client_secret="sandbox-secret",
        cronofy_api_url=control.base_url,
        api_per_second=10**6,
        api_per_minute=10**7,
        recheck_min=0.001,
        log_level="warning",
    )
    configure_logging(settings)
    return bootstrap(settings)


def _fill(services: Services, control: Control, accounts: int, events: int) -> list[str]:
    """Accounts with their events, at the sandbox and in the ledger; returns their access tokens."""
    start = datetime.now(UTC) + timedelta(days=1)
    made = control.create_accounts([_account(n) for n in range(accounts)])
    for n, account in enumerate(progress(made, f"Filling {events} events an account", transient=True)):
        payload = ConnectAccount(
            sub=account["sub"], refresh_token=account["refresh_token"], access_token=account["access_token"]
        )
        accept.connect_account(services, payload)
        for e in range(events):
            body = {
                "event_id": f"event-{e}",
                "summary": f"Event {e}",
                "start": (start + timedelta(minutes=e)).isoformat(),
                "end": (start + timedelta(minutes=e + 30)).isoformat(),
                "conferencing": {"profile_id": f"pro_{n}"},
            }
            control.create_event(account["sub"], f"cal_{n}", body)
            accept.track(services, TrackEvent(sub=account["sub"], calendar_id=f"cal_{n}", event=body))
    return [str(account["access_token"]) for account in made]


def _account(n: int) -> dict[str, Any]:
    return {
        "sub": f"acc_{n}",
        "calendar_profiles": [{"profile_id": f"pro_cal_{n}", "calendars": [{"calendar_id": f"cal_{n}"}]}],
        "conferencing_profiles": [{"profile_id": f"pro_{n}", "provider_name": "zoom"}],
    }


def _reads_per_second(control: Control, tokens: list[str]) -> float:
    """What the sandbox itself can do: the same reads by as many threads, and nothing else."""
    with httpx.Client(base_url=control.base_url) as client, ThreadPoolExecutor(THREADS) as pool:

        def read(token: str) -> None:
            query = {"tzid": "Etc/UTC", "only_managed": "true", "localized_times": "true"}
            client.get(
                "/v1/events", params=query, headers={"Authorization": f"Bearer {token}"}
            ).raise_for_status()

        begun = time.monotonic()
        list(pool.map(read, tokens))
        return len(tokens) / (time.monotonic() - begun)


if __name__ == "__main__":
    main()
