"""The naive worker: what a company might write on its own, as a baseline.

One Celery task per event, the official SDK, and a separate Read Events and UserInfo for each event. It is not
slowed down on purpose: messages are acknowledged late, as ours are, and nothing is encrypted. Each process
prefetches four messages, Celery's default: with one, as ours, it measured just as fast. The SDK opens a new
connection for each call.

    NAIVE_REDIS_URL=… NAIVE_API_URL=… python -m celery -A benchmarks.naive worker --concurrency 2
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pycronofy
from celery import Celery
from redis import Redis

from benchmarks.stage import Filled, process
from worker.ledger.records import TrackedEvent

QUEUE, SETTLE, READY, TAKE = "naive", "naive.settle", "naive.ready", "naive.take"
#: The events that have their conference, named as in `Pending.name`.
SETTLED = "naive:settled"

REDIS_URL = os.environ.get("NAIVE_REDIS_URL", "redis://127.0.0.1:6379/0")
API_URL = os.environ.get("NAIVE_API_URL", "http://127.0.0.1:8080")


@dataclass(frozen=True, slots=True)
class Pending:
    """An event without a conference, with all its task needs: the task's arguments."""

    access_token: str
    calendar_id: str
    event_id: str
    #: RFC 3339, in UTC.
    start: str

    @property
    def name(self) -> str:
        """A unique name for the event."""
        return f"{self.calendar_id}/{self.event_id}"


app = Celery("naive", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
)
redis = Redis.from_url(REDIS_URL)


@app.task(name=SETTLE, shared=False, autoretry_for=(OSError,), retry_backoff=1)
def settle(access_token: str, calendar_id: str, event_id: str, start: str) -> None:
    """Look at one event; retry shortly after if a connection broke."""
    look(redis, API_URL, Pending(access_token, calendar_id, event_id, start))


@app.task(name=READY, shared=False, ignore_result=False)
def ready() -> bool:
    """Answer, so that a caller knows the worker is up."""
    return True


@app.task(name=TAKE, shared=False, ignore_result=False)
def take(**_: object) -> bool:
    """Take a message and do nothing about it: what Celery alone costs."""
    return True


def look(redis: Redis, api_url: str, pending: Pending) -> bool:
    """Read the event and the profiles, and record a conference if there is one. Returns whether there is."""
    client = pycronofy.Client(access_token=pending.access_token)
    client.request_handler.base_url = api_url
    day = datetime.fromisoformat(pending.start).date()
    # `to` is exclusive. The SDK asks for the next page only until the event is found.
    events = client.read_events(
        calendar_ids=(pending.calendar_id,),
        from_date=day,
        to_date=day + timedelta(days=1),
        only_managed=True,
    )
    event = next((event for event in events if event.get("event_id") == pending.event_id), None)
    client.userinfo()
    if event is None or not (event.get("conferencing") or {}).get("join_url"):
        return False
    redis.sadd(SETTLED, pending.name)
    return True


def pending(account: Filled, events: Iterable[TrackedEvent]) -> list[Pending]:
    """An account's events as task arguments."""
    return [
        Pending(account.access_token, event.key.calendar_id, event.key.event_id, event.starts_at.isoformat())
        for event in events
        if event.starts_at
    ]


def running(redis_url: str, api_url: str, processes: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The worker with this many processes; yields once it answers."""
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.naive", "worker", "-n", "naive@%h"]
    command += ["--concurrency", str(processes), "--loglevel", "warning"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return process(command, {"NAIVE_REDIS_URL": redis_url, "NAIVE_API_URL": api_url})
