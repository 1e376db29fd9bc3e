"""A fleet of real processes, with a caller and a consumer of outcomes."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Condition, Event, Thread
from typing import Any

from celery import Celery
from redis import Redis
from rich.progress import Progress

from benchmarks.stage import environment, process
from config.celery import routes

#: Cronofy's limits for an application, and our share.
PER_SECOND, PER_MINUTE, SHARE = 50, 500, 0.8
#: Processes per worker.
PROCESSES = 4
#: How long to wait for anything before giving up.
PATIENCE_SECONDS = 300.0


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that this percentage of the values does not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@contextmanager
def worker(settings: dict[str, Any], redis_url: str) -> Iterator[Celery]:
    """A worker whose processes have all handled a task; yields a caller that knows only the broker's URL."""
    command = [sys.executable, "-m", "worker.cli", "worker", "--concurrency", str(PROCESSES)]
    with process(command, environment(settings)), caller(settings, redis_url) as asking:
        ask_all_processes(asking, PROCESSES)
        yield asking


@contextmanager
def caller(settings: dict[str, Any], redis_url: str) -> Iterator[Celery]:
    """A caller that knows only the broker's URL and the queues' names."""
    app = Celery("caller", broker=redis_url, backend=redis_url)
    app.conf.task_routes = routes(settings["key_prefix"])
    try:
        yield app
    finally:
        # Results unsubscribe when they are freed, which needs a running server.
        gc.collect()
        backend: Any = app.backend
        backend.result_consumer.stop()
        app.close()


#: A question that costs no call to Cronofy.
NOBODY = {"sub": "nobody", "calendar_id": "none", "event_id": "none"}


def ask_all_processes(
    caller: Celery,
    processes: int,
    task: str = "conferencing.explain",
    arguments: Mapping[str, str] = NOBODY,
    queue: str | None = None,
) -> None:
    """Wait for enough concurrent answers that each process gives one."""
    asked = [caller.send_task(task, kwargs=dict(arguments), queue=queue) for _ in range(4 * processes)]
    for question in asked:
        question.get(timeout=60)


@contextmanager
def beat(settings: dict[str, Any]) -> Iterator[None]:
    """Beat with its default interval."""
    with process([sys.executable, "-m", "worker.cli", "beat"], environment(settings)):
        yield


class Outcomes:
    """A consumer of the outcome stream: records when each account's `assigned` outcome arrived."""

    def __init__(self, redis: Redis, stream: str) -> None:
        #: By account, in seconds of `time.monotonic()`.
        self.at: dict[str, float] = {}
        self._redis = redis
        self._stream = stream
        self._news = Condition()

    def read_until(self, end: Event) -> None:
        """Read the stream from its beginning, and wait for new entries."""
        last: bytes = b"0"
        while not end.is_set():
            answer: Any = self._redis.xread({self._stream: last}, block=100)
            now = time.monotonic()
            for _, entries in answer:
                last = entries[-1][0]
                outcomes = [json.loads(fields[b"outcome"]) for _, fields in entries]
                with self._news:
                    for outcome in outcomes:
                        if outcome["type"] == "assigned":
                            self.at.setdefault(outcome["sub"], now)
                    self._news.notify_all()

    def wait_for(self, subs: Collection[str], *, first: bool = False) -> None:
        """Return once all of these accounts have their outcome, or any one of them with `first`."""
        enough = 1 if first else len(subs)
        with self._news, Progress(transient=True) as bar:
            task = bar.add_task("Waiting for outcomes", total=enough)
            end = time.monotonic() + PATIENCE_SECONDS
            while (done := sum(sub in self.at for sub in subs)) < enough:
                bar.update(task, completed=done)
                if not self._news.wait(max(0.0, end - time.monotonic())):
                    raise SystemExit(f"Only {done} of {enough} outcomes came: figures would be meaningless.")


@contextmanager
def outcomes(redis_url: str, prefix: str) -> Iterator[Outcomes]:
    """Outcomes as they arrive, read by a thread with its own connection."""
    end = Event()
    with Redis.from_url(redis_url) as redis:
        arrivals = Outcomes(redis, f"{prefix}:outcomes")
        thread = Thread(target=arrivals.read_until, args=[end], daemon=True)
        thread.start()
        try:
            yield arrivals
        finally:
            end.set()
            thread.join()
