"""The tasks that Celery itself brings are not run, whoever enqueues them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from celery import Celery

from tests.acceptance.harness import INTAKE, URGENT, Fleet
from tests.faults.hostile_messages import message
from tests.waiting import wait_until

#: One that would run a task of ours, a thousand times if it likes.
INNER = {"task": "conferencing.forget_account", "args": [], "kwargs": {"sub": "acc_inner"}, "options": {}}


def test_a_worker_drops_celerys_own_tasks(fleet: Fleet) -> None:
    """Each with the usual line, on any queue; the task within is not run, and the worker carries on."""
    app = Celery("test", set_as_current=False)
    app.finalize()
    names = sorted(name for name in app.tasks if name.startswith("celery."))
    assert {"celery.map", "celery.chord_unlock", "celery.backend_cleanup"} <= set(names)
    worker, letters = fleet.up.role("worker"), fleet.redis.xlen("reconciler:dead-letters")
    body = json.dumps([[INNER, [[1], [2]]], {}, {}]).encode()
    for queue in (INTAKE, URGENT):
        for name in names:
            fleet.redis.lpush(queue, message(body, headers={"task": name, "id": f"{queue}-{name}"}))

    def dropped() -> Counter[Any]:
        lines = fleet.logged("message.dropped")
        return Counter(line["task"] for line in lines if line["reason"] == "unknown_task")

    wait_until(lambda: all(dropped()[name] == 2 for name in names), 20, what="all to be dropped")
    fleet.answers()
    wait_until(fleet.drained, 20, what="the messages to be acknowledged")
    assert fleet.redis.xlen("reconciler:dead-letters") == letters
    assert fleet.up.role("worker") == worker
