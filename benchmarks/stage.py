"""What benchmarks run on: a real Redis, the sandbox as a separate process, and accounts with events."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from cryptography.fernet import Fernet
from rich.progress import track as progress

from config.logging import configure_logging
from config.settings import load_settings
from sandbox.control.control import Control
from worker.bootstrap import Services, bootstrap
from worker.host.embedded import embedded_server
from worker.intake import accept
from worker.intake.payloads import ConnectAccount, TrackEvent
from worker.ledger.records import EventKey, TrackedEvent, to_ms

CLIENT_ID, CLIENT_SECRET = "sandbox", "sandbox-secret"


@dataclass(frozen=True, slots=True)
class Filled:
    """An account with events, at the sandbox and in the ledger."""

    sub: str
    calendar_id: str
    access_token: str
    refresh_token: str
    event_ids: tuple[str, ...]


@contextmanager
def redis_server() -> Iterator[str]:
    """A real server with an append-only file, discarded at the end; yields its URL."""
    with tempfile.TemporaryDirectory() as home, embedded_server(Path(home)) as url:
        yield url


@contextmanager
def sandbox_with_pid(*options: str) -> Iterator[tuple[Control, int]]:
    """The sandbox as a separate process, without limits, making conferences at once, and its process id."""
    port, smtp_port = free_ports(2)
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
    command += ["--per-second", "0", "--per-minute", "0", "--speed", "1000", *options]
    with process(command) as running, Control(f"http://127.0.0.1:{port}") as control:
        until(lambda: running.poll() is not None or _answers(control), "the sandbox", 20)
        if running.poll() is not None:
            raise SystemExit("The sandbox ended as soon as it was started.")
        yield control, running.pid


@contextmanager
def sandbox_process(*options: str) -> Iterator[Control]:
    """The same without the process id."""
    with sandbox_with_pid(*options) as (control, _):
        yield control


def _answers(control: Control) -> bool:
    try:
        control.health()
    except httpx.HTTPError:
        return False
    return True


@contextmanager
def process(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, ended together with everything it started."""
    running = subprocess.Popen(  # noqa: S603 - our own program
        list(command),
        stdout=subprocess.DEVNULL,
        stderr=None if os.environ.get("BENCH_LOG") else subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def until(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Return once the condition holds; SystemExit naming `what` if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"Gave up waiting for {what}: the figures would be meaningless.")
        time.sleep(0.02)


def cpu_seconds(session: int) -> float | None:
    """CPU seconds used so far by a session's live processes; None without /proc."""
    ticks = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has ended.
        if int(fields[3]) == session:
            ticks.append(int(fields[11]) + int(fields[12]))
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def free_ports(count: int) -> list[int]:
    """Free ports on the loopback interface."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def settings_for(redis_url: str, api_url: str, **changes: Any) -> dict[str, Any]:
    """Settings of a separate deployment in this Redis, without limits unless given."""
    return {
        "redis_url": redis_url,
        "key_prefix": f"bench-{uuid4().hex[:8]}",
        "vault_keys": Fernet.generate_key().decode(),
        "cronofy_client_id": CLIENT_ID,
        "cronofy_client_secret": CLIENT_SECRET,
        "cronofy_api_url": api_url,
        "api_per_second": 10**6,
        "api_per_minute": 10**7,
        "recheck_min": 0.001,
        "log_level": "warning",
        "log_format": "json",
        **changes,
    }


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The same settings as environment variables."""
    return {f"RECONCILER_{name.upper()}": str(value) for name, value in settings.items()}


def services(settings: Mapping[str, Any]) -> Services:
    """The program in this process, with these settings."""
    loaded = load_settings(**settings)
    configure_logging(loaded)
    return bootstrap(loaded)


def fill(
    services: Services,
    control: Control,
    accounts: int,
    events: int,
    *,
    first: timedelta = timedelta(days=1),
    starts: Sequence[datetime] = (),
    stuck: bool = False,
) -> list[Filled]:
    """Connect accounts and track this many events for each.

    An account's first event starts when `starts` says, or after `first`; the others follow it, a minute
    apart. Their conferences are there at the first read, or with `stuck` never come.
    """
    all_alike = (datetime.now(UTC) + first).replace(microsecond=0)
    run = uuid4().hex[:6]
    made = [control.create_account(**_account(f"{run}-{n}")) for n in range(accounts)]
    filled = []
    what = f"Filling {accounts} accounts with {events} events each"
    bar = progress(made, what, transient=True, disable=not sys.stdout.isatty())
    for account, start in zip(bar, starts or [all_alike] * accounts, strict=True):
        sub, calendar_id = account["sub"], f"cal_{account['sub']}"
        tokens = {"access_token": account["access_token"], "refresh_token": account["refresh_token"]}
        accept.connect_account(services, ConnectAccount(sub=sub, **tokens))
        bodies = [event_body(f"event-{e}", start + timedelta(minutes=e), f"pro_{sub}") for e in range(events)]
        for body in bodies:
            if stuck:
                # Before the write: otherwise its conference would be there at once.
                control.set_stuck(calendar_id, body["event_id"])
            control.create_event(sub, calendar_id, body)
            accept.track(services, TrackEvent(sub=sub, calendar_id=calendar_id, event=body))
        filled.append(Filled(sub, calendar_id, event_ids=tuple(b["event_id"] for b in bodies), **tokens))
    return filled


def event_body(event_id: str, start: datetime, profile_id: str) -> dict[str, Any]:
    """What a caller sends to Cronofy and to `conferencing.track`: about 400 bytes as JSON."""
    return {
        "event_id": event_id,
        "summary": f"Interview with the candidate, {event_id}",
        "description": "Have your questions ready by the time. To join: {{cronofy.conferencing.join_url}}",
        "start": start.isoformat(),
        "end": (start + timedelta(minutes=30)).isoformat(),
        "tzid": "Europe/London",
        "location": {"description": "Video conference, no room"},
        "conferencing": {"profile_id": profile_id},
    }


def tracked_event(calendar_id: str, event_id: str, starts: datetime, tracked: datetime) -> TrackedEvent:
    """The record of an event that was tracked then, and is due since."""
    return TrackedEvent(
        key=EventKey(calendar_id, event_id),
        body=event_body(event_id, starts, "pro"),
        provider_name="zoom",
        tracked_at=to_ms(tracked),
        asked_at=to_ms(tracked),
        profile_id="pro",
        next_look=to_ms(tracked),
    )


def _account(name: str) -> dict[str, Any]:
    sub = f"acc_{name}"
    return {
        "sub": sub,
        "calendar_profiles": [{"profile_id": f"cal_pro_{sub}", "calendars": [{"calendar_id": f"cal_{sub}"}]}],
        "conferencing_profiles": [{"profile_id": f"pro_{sub}", "provider_name": "zoom"}],
    }
