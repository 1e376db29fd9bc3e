"""Somebody else's program: a stock Celery application with a worker and beat, on a broker that we use too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_until

SHOP = """
import os, time
from celery import Celery

app = Celery("shop", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.beat_schedule = {"tick": {"task": "shop.note", "schedule": 1.0, "args": ["beat"]}}

def write(what, task):
    with open("ran", "a") as file:
        file.write(f"{what} {task.request.id} {task.request.retries}\\n")

@app.task(name="shop.note", bind=True)
def note(self, what):
    write(what, self)

@app.task(name="shop.slow", bind=True, acks_late=True)
def slow(self):
    write("slow", self)
    time.sleep(10)

@app.task(name="shop.retried", bind=True)
def retried(self):
    write("retried", self)
    if not self.request.retries:
        raise self.retry(countdown=9)
"""


@contextmanager
def running_shop(home: Path, url: str) -> Iterator[Path]:
    """Run it in `home` on the broker at `url`; yields `home` once it runs tasks."""
    (home / "shop.py").write_text(SHOP)
    with (home / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "shop", "worker", "--beat", "--concurrency", "4"],
            cwd=home,
            env=os.environ | {"URL": url},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: "beat" in ran(home), 30, 0.1, what="the shop's worker and beat")
        yield home
    finally:
        worker.terminate()
        try:
            worker.wait(30)
        finally:
            worker.kill()


def ran(home: Path) -> str:
    """A line for each run of a task: which, its id, and how often it was retried before."""
    return (home / "ran").read_text() if (home / "ran").exists() else ""
