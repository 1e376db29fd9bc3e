"""Throughput: how many events are settled per second at an unlimited rate, on two cores.

Four contenders, one after the other on the same accounts, whose conferences all exist:

- ours: a real worker of two processes, from publishing the first sweep to the last event settled;
- naive: `benchmarks.naive`, also two processes, from publishing the first message to the last event settled;
- raw loop: our client and our budget, two processes with as many threads as ours, the same reads; nothing
  is claimed or written, and there is no Celery;
- sandbox alone: the same reads over plain sockets, checking only each answer's status and length.

The sandbox shares the two cores, so nothing can be faster than the last. It answers at once, or after 50 ms:
then concurrency decides.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from typing import Any
from urllib.parse import urlencode, urlsplit

from celery import Celery
from redis import Redis

from benchmarks import naive, stage
from benchmarks.report import Report, Value
from config.queues import Queues
from sandbox.control.control import Control
from worker.bootstrap import THREADS
from worker.cronofy.errors import Unreachable
from worker.cronofy.wire import read_sighting
from worker.intake import accept
from worker.intake.payloads import ConnectAccount
from worker.ledger.records import Account, TrackedEvent
from worker.reconcile.observe import windows_for

PROCESSES = 2
#: Seconds between sweeps; the default of 5 would make the worker wait.
SWEEP_EVERY = 0.2
#: Connections per process that reads from the sandbox alone: enough to keep a slow sandbox busy.
CONNECTIONS = 64


HEADINGS = ["answers after", "events an account", "ours", "naive", "raw loop", "sandbox alone"]
HEADINGS += ["ours : naive", "ours : raw loop", "ours: CPU ms a look", "raw loop: CPU ms a look"]


@dataclass(frozen=True, slots=True)
class Load:
    """The number and shape of the accounts."""

    events: int
    accounts: int
    #: By the sandbox's delay in seconds: how many the naive worker gets, since all would take too long.
    naive_accounts: Mapping[float, int]


LOADS = (
    Load(10, 1200, {0.0: 60, 0.05: 8}),
    # Enough that the first look of each process, which is slower, does not count.
    Load(1, 2400, {0.0: 300, 0.05: 60}),
    Load(100, 40, {0.0: 4, 0.05: 1}),
)
QUICK_LOADS = (Load(10, 40, {0.0: 4}),)


@dataclass(frozen=True, slots=True)
class Case:
    """An account and its pending events as stored in the ledger."""

    account: stage.Filled
    events: tuple[TrackedEvent, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A contender's result."""

    accounts: int
    events: int
    seconds: float
    #: Seconds of CPU its processes used; None if the system does not report it.
    cpu: float | None

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds

    @property
    def cpu_ms(self) -> float | None:
        """Milliseconds of CPU per account."""
        return None if self.cpu is None else self.cpu / self.accounts * 1000


#: A function and its arguments.
Work = tuple[Callable[[Any], None], Sequence[Any]]
Prepare = Callable[[Sequence[Case]], Work]


def run(quick: bool) -> Report:
    """Measure all contenders for each kind of account, with and without a delay."""
    rows: list[dict[str, Value]] = []
    with stage.redis_server() as redis_url, stage.sandbox_process() as control:
        for load in QUICK_LOADS if quick else LOADS:
            control.reset()
            rows += _rows(redis_url, control, load)
    return Report(
        name="throughput",
        title="Events settled in a second, at an unlimited rate",
        headings=HEADINGS,
        rows=rows,
        notes=(
            "The raw loop and the sandbox alone settle nothing: theirs are the events that they read.",
            "CPU is that of the worker's processes; Redis and the sandbox need theirs on the same cores.",
        ),
        settings={"processes": PROCESSES, "threads": THREADS, "sweep_every": SWEEP_EVERY},
    )


def _rows(redis_url: str, control: Control, load: Load) -> Iterator[dict[str, Value]]:
    settings = stage.settings_for(redis_url, control.base_url)
    with closing(stage.services(settings)) as source:
        filled = stage.fill(source, control, load.accounts, load.events)
        cases = [Case(a, tuple(s.event for s in source.ledger.pending(a.sub))) for a in filled]
    for delay, few in load.naive_accounts.items():
        control.clear_faults()
        if delay:
            control.add_fault("slow", seconds=delay)
        figures = {
            "naive": _naive(redis_url, control.base_url, cases[:few]),
            "raw loop": _read_all(partial(_with_our_client, settings), THREADS, cases),
            "sandbox alone": _read_all(partial(_with_sockets, control.base_url), CONNECTIONS, cases),
            "ours": _ours(redis_url, control.base_url, cases),
        }
        yield _row(delay, load.events, figures)


def _row(delay: float, events: int, figures: Mapping[str, Figure]) -> dict[str, Value]:
    row: dict[str, Value] = {
        "answers after": f"{delay * 1000:.0f} ms",
        "events an account": events,
        "ours : naive": figures["ours"].rate / figures["naive"].rate,
        "ours : raw loop": figures["ours"].rate / figures["raw loop"].rate,
    }
    for name, figure in figures.items():
        row |= {name: figure.rate, f"{name}: CPU ms a look": figure.cpu_ms}
        row |= {f"{name}: {what}": value for what, value in asdict(figure).items()}
    return row


def _ours(redis_url: str, api_url: str, cases: Sequence[Case]) -> Figure:
    """In a deployment of its own, filled before the first sweep."""
    settings = stage.settings_for(redis_url, api_url, sweep_every=SWEEP_EVERY)
    ours, events = stage.services(settings), sum(len(case.events) for case in cases)
    for case in cases:
        tokens = {"access_token": case.account.access_token, "refresh_token": case.account.refresh_token}
        accept.connect_account(ours, ConnectAccount(sub=case.account.sub, **tokens))
        for event in case.events:
            ours.ledger.track(case.account.sub, event)
    command = [sys.executable, "-m", "worker.cli", "worker", "--concurrency", str(PROCESSES)]
    app, queues = Celery(broker=redis_url, set_as_current=False), Queues.of(settings["key_prefix"])
    with stage.process(command, stage.environment(settings)) as worker:
        nobody = {"sub": "nobody", "calendar_id": "none", "event_id": "none"}
        _wait_until_up(ours.ledger.redis, app, "conferencing.explain", queues.urgent, **nobody)
        before, begun, swept = stage.cpu_seconds(worker.pid), time.monotonic(), 0.0

        def swept_clean() -> bool:
            nonlocal swept
            if time.monotonic() - swept >= SWEEP_EVERY:
                swept = time.monotonic()
                # As beat does.
                app.send_task("conferencing.sweep", queue=queues.looks, expires=SWEEP_EVERY)
            return ours.ledger.counters().get("outcome:assigned", 0) >= events

        stage.until(swept_clean, "ours to settle every event")
        figure = _figure(cases, begun, before, worker.pid)
    ours.close()
    return figure


def _naive(redis_url: str, api_url: str, cases: Sequence[Case]) -> Figure:
    pending = [event for case in cases for event in naive.pending(case.account, case.events)]
    app, redis = Celery(broker=redis_url, set_as_current=False), Redis.from_url(redis_url)
    with naive.running(redis_url, api_url, PROCESSES) as worker:
        redis.delete(naive.SETTLED)
        _wait_until_up(redis, app, naive.READY, naive.QUEUE)
        before, begun = stage.cpu_seconds(worker.pid), time.monotonic()
        for event in pending:
            app.send_task(naive.SETTLE, kwargs=asdict(event), queue=naive.QUEUE, ignore_result=True)
        stage.until(
            lambda: redis.scard(naive.SETTLED) == len(pending), "the naive worker to settle every event"
        )
        figure = _figure(cases, begun, before, worker.pid)
        if redis.smembers(naive.SETTLED) != {event.name.encode() for event in pending}:
            raise SystemExit("The naive worker settled other events than it was given.")
    return figure


def _wait_until_up(redis: Redis, app: Celery, task: str, queue: str, **arguments: str) -> None:
    """Ask several questions at once, so that each process of the worker answers one."""
    asked = [app.send_task(task, kwargs=arguments, queue=queue) for _ in range(4 * PROCESSES)]
    results = [f"celery-task-meta-{question.id}" for question in asked]
    stage.until(lambda: redis.exists(*results) == len(asked), "a worker to be up")


def _figure(cases: Sequence[Case], begun: float, before: float | None, pid: int) -> Figure:
    seconds, after = time.monotonic() - begun, stage.cpu_seconds(pid)
    cpu = after - before if before is not None and after is not None else None
    return Figure(len(cases), sum(len(case.events) for case in cases), seconds, cpu)


def _read_all(prepare: Prepare, threads: int, cases: Sequence[Case]) -> Figure:
    """Read all accounts in separate processes, timed from the first start to the last end."""
    # Forked while this process has only one thread, so they start at once.
    with ProcessPoolExecutor(PROCESSES, get_context("fork")) as pool:
        shares = [cases[n::PROCESSES] for n in range(PROCESSES)]
        spans = list(pool.map(partial(_read_share, prepare, threads), shares))
    seconds = max(end for _, end, _ in spans) - min(begun for begun, _, _ in spans)
    events = sum(len(case.events) for case in cases)
    return Figure(len(cases), events, seconds, sum(cpu for _, _, cpu in spans))


def _read_share(prepare: Prepare, threads: int, cases: Sequence[Case]) -> tuple[float, float, float]:
    read, portions = prepare(cases)
    with ThreadPoolExecutor(threads) as pool:
        begun, used = time.monotonic(), time.process_time()
        list(pool.map(read, portions))
        return begun, time.monotonic(), time.process_time() - used


def _with_our_client(settings: Mapping[str, Any], cases: Sequence[Case]) -> Work:
    ours = stage.services(settings)
    now = ours.ledger.now()

    def read(portion: tuple[Account, Case]) -> None:
        account, case = portion
        calendars, [window] = {case.account.calendar_id}, windows_for(case.events, None, now)
        try:
            items = ours.looker.cronofy.session(account).read_events(calendars, window)
        except Unreachable:
            # Ours retries after a broken connection.
            items = ours.looker.cronofy.session(account).read_events(calendars, window)
        if not all(read_sighting(items[event.key], event.tzid, now).join_url for event in case.events):
            raise ValueError("An event has no conference.")

    return read, [(ours.ledger.account(case.account.sub), case) for case in cases]


def _with_sockets(api_url: str, cases: Sequence[Case]) -> Work:
    host, _, port = urlsplit(api_url).netloc.partition(":")
    requests = [_request(case) for case in cases]

    def read(portion: Sequence[bytes]) -> None:
        with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as answers:
            for request in portion:
                connection.sendall(request)
                if not answers.readline().startswith(b"HTTP/1.1 200 "):
                    raise ValueError("The sandbox refused a read.")
                headers = dict(line.lower().split(b": ") for line in iter(answers.readline, b"\r\n"))
                answers.read(int(headers[b"content-length"]))

    return read, [requests[n::CONNECTIONS] for n in range(CONNECTIONS)]


def _request(case: Case) -> bytes:
    """The request our client sends for these events."""
    query = {"tzid": "Etc/UTC", "only_managed": "true", "include_managed": "true", "localized_times": "true"}
    [window] = windows_for(case.events, None, datetime.now(UTC))
    if window:
        query |= {"from": window.first.isoformat(), "to": window.last.isoformat()}
    target = f"/v1/events?{urlencode({**query, 'calendar_ids[]': case.account.calendar_id})}"
    token = case.account.access_token
    return f"GET {target} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
