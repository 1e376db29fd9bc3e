"""Intake: how many events and accounts a second can be handed over, as messages and as files.

Messages: one caller sends them while a real worker of two processes takes them, from the first publish to
the last answer. Celery alone is the same caller with the same messages and answers, and a worker of two
processes with Celery's defaults whose task does nothing. Files: `reconciler track` and `reconciler connect`
as processes, from their start to their end.

Callers, workers and Redis share the cores.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from celery import Celery
from redis import Redis

from benchmarks import naive, stage
from benchmarks.fleet import ask_all_processes, caller
from benchmarks.report import Report, Value

PROCESSES = 2
#: Events of an account; each is a message of its own.
EVENTS = 10
#: How many are measured: messages of each kind, and lines of each file.
MESSAGES, LINES, QUICK = 5_000, 50_000, 20

TRACK, CONNECT = "conferencing.track", "conferencing.connect_account"
HEADINGS = ["what", "handed over", "a second", "Celery alone", "ours : Celery alone"]
HEADINGS += ["caller: CPU ms", "worker: CPU ms", "Redis: CPU ms", "Celery alone, worker: CPU ms"]

#: Nothing is looked at.
NO_API = "http://127.0.0.1:9"

Arguments = dict[str, Any]
#: A task and its arguments.
Handed = tuple[str, Arguments]


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds, and CPU seconds of whoever hands over, of the worker's processes and of Redis."""

    seconds: float
    caller: float
    worker: float
    redis: float

    @classmethod
    def read(cls, redis: Redis, worker: int | None = None) -> Self:
        """What they show now; `worker` is its session."""
        found: Any = redis.info("cpu")
        caller = sum(os.times()[:4])
        server = found["used_cpu_user"] + found["used_cpu_sys"]
        return cls(time.monotonic(), caller, (worker and stage.cpu_seconds(worker)) or 0.0, server)

    def since(self, begun: Clocks) -> Clocks:
        """What passed on each."""
        return Clocks(*(now - then for now, then in zip(astuple(self), astuple(begun), strict=True)))

    def cells(self, count: int) -> dict[str, Value]:
        """For a table, when this many were handed over."""
        cpu = {"caller": self.caller, "worker": self.worker, "Redis": self.redis}
        each = {f"{who}: CPU ms": used / count * 1000 for who, used in cpu.items() if used}
        return {"a second": count / self.seconds, **each}


def run(quick: bool) -> Report:
    """Measure messages of each kind, and files."""
    messages, lines = (MESSAGES // QUICK, LINES // QUICK) if quick else (MESSAGES, LINES)
    rows: list[dict[str, Value]] = []
    for name, make in (("track", events), ("connect", accounts), ("connect and track", both)):
        sent = list(make(messages))
        ours, alone = _ours(sent), _alone(sent)
        rows.append(
            {
                "what": f"messages: {name}",
                "handed over": messages,
                "Celery alone": messages / alone.seconds,
                "ours : Celery alone": alone.seconds / ours.seconds,
                **ours.cells(messages),
                **{f"Celery alone, {what}": value for what, value in alone.cells(messages).items()},
            }
        )
    for name, make in (("track", events), ("connect", accounts)):
        sent = list(make(lines))
        cells = _file(name, sent).cells(lines)
        rows.append({"what": f"`reconciler {name} FILE`", "handed over": lines, **cells})
    return Report(
        name="intake",
        title="Events and accounts handed over in a second",
        headings=HEADINGS,
        rows=rows,
        notes=(
            "CPU is for one message or line. The caller of a file is the command, with its start.",
            "The caller asks for an answer to each message, and gets it once the ledger has what it sent.",
        ),
        settings={"processes": PROCESSES, "events an account": EVENTS},
    )


def events(count: int) -> Iterator[Handed]:
    """Events to track, of accounts in turn, with bodies of about 400 bytes."""
    start = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    for n in range(count):
        sub, begins = f"acc_{n // EVENTS:06}", start + timedelta(minutes=n % EVENTS)
        body = stage.event_body(f"event-{n}", begins, f"pro_{sub}")
        yield TRACK, {"sub": sub, "calendar_id": f"cal_{sub}", "event": body, "provider_name": "zoom"}


def accounts(count: int) -> Iterator[Handed]:
    """Accounts to connect."""
    for n in range(count):
        sub = f"acc_{n:06}"
        tokens = {"access_token": f"access-{n:032}", "refresh_token": f"refresh-{n:032}"}
        yield CONNECT, {"sub": sub, **tokens, "email": f"{sub}@example.org", "name": "Dana"}


def both(count: int) -> Iterator[Handed]:
    """As many messages in all: each account, then its one event."""
    start = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    for name, account in accounts(count // 2):
        sub = account["sub"]
        yield name, account
        body = stage.event_body("event-0", start, f"pro_{sub}")
        yield TRACK, {"sub": sub, "calendar_id": f"cal_{sub}", "event": body, "provider_name": "zoom"}


def _settings(url: str) -> dict[str, Any]:
    """With the default log, a line for each message."""
    return stage.settings_for(url, NO_API, log_level="info")


def _ours(sent: Sequence[Handed]) -> Clocks:
    with stage.redis_server() as url:
        settings = _settings(url)
        command = [sys.executable, "-m", "worker.cli", "worker", "--concurrency", str(PROCESSES)]
        with stage.process(command, stage.environment(settings)) as worker, caller(settings, url) as app:
            ask_all_processes(app, PROCESSES)
            took = _messages(app, url, worker.pid, sent)
            _check(settings, sent)
    return took


def _alone(sent: Sequence[Handed]) -> Clocks:
    with (
        stage.redis_server() as url,
        naive.running(url, NO_API, PROCESSES) as worker,
        caller({"key_prefix": "naive"}, url) as app,
    ):
        ask_all_processes(app, PROCESSES, naive.READY, {}, naive.QUEUE)
        return _messages(
            app, url, worker.pid, [(naive.TAKE, arguments) for _, arguments in sent], naive.QUEUE
        )


def _messages(app: Celery, url: str, worker: int, sent: Sequence[Handed], queue: str | None = None) -> Clocks:
    with Redis.from_url(url) as redis:
        begun = Clocks.read(redis, worker)
        answers = [app.send_task(name, kwargs=arguments, queue=queue) for name, arguments in sent]
        if not all(answer.get(timeout=120) for answer in answers):
            raise SystemExit("A message was refused: the figures would be meaningless.")
        took = Clocks.read(redis, worker).since(begun)
    # They unsubscribe when they are freed.
    del answers
    gc.collect()
    return took


def _file(name: str, lines: Sequence[Handed]) -> Clocks:
    with stage.redis_server() as url, tempfile.TemporaryDirectory() as home, Redis.from_url(url) as redis:
        path, settings = Path(home) / "lines", _settings(url)
        path.write_text("".join(json.dumps(arguments) + "\n" for _, arguments in lines))
        command = [sys.executable, "-m", "worker.cli", name, str(path)]
        begun = Clocks.read(redis)
        with stage.process(command, stage.environment(settings)) as running:
            if running.wait() != 0:
                raise SystemExit("The command failed: the figures would be meaningless.")
        took = Clocks.read(redis).since(begun)
        _check(settings, lines)
    return took


def _check(settings: dict[str, Any], sent: Sequence[Handed]) -> None:
    """What was handed over is in the ledger, and can be read."""
    work = stage.services(settings)
    try:
        events = sum(name == TRACK for name, _ in sent)
        connected = work.ledger.counters().get("outcome:account_connected", 0)
        last = sent[-1][1]["sub"]
        readable = len(work.ledger.pending(last)) if events else bool(work.ledger.account(last).credentials)
        if (work.ledger.counters().get("events:pending", 0), connected) != (events, len(sent) - events):
            raise SystemExit("The ledger has not what was handed over: the figures would be meaningless.")
        if not readable:
            raise SystemExit("What was handed over cannot be read: the figures would be meaningless.")
    finally:
        work.close()
