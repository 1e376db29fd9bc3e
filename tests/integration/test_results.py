"""Answers of tasks, as a caller's own Celery reads them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from config.celery import celery_config
from config.settings import load_settings


@pytest.fixture
def ours(redis_url: str, prefix: str) -> Celery:
    """Our application, as far as it stores results."""
    app = Celery("ours")
    app.conf.update(celery_config(load_settings(redis_url=redis_url, key_prefix=prefix)))
    return app


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_a_success_is_written_without_reading_and_no_failure_replaces_it(
    ours: Celery, redis_url: str, prefix: str
) -> None:
    """The same fields as Celery's own; a task that was lost, and fails elsewhere, comes too late."""
    theirs = Celery("theirs", backend=redis_url)
    request = SimpleNamespace(group="g", parent_id=None, chord=None, children=[], ignore_result=False)
    one, other = f"{prefix}-one", f"{prefix}-other"
    backend: Any = ours.backend
    with Redis.from_url(redis_url) as redis:
        redis.set(backend.get_key_for_task(one), "whoever reads this fails")

    backend.mark_as_done(one, {"state": "pending"}, request=request)
    theirs.backend.mark_as_done(other, {"state": "pending"}, request=request)
    backend.mark_as_failure(one, ValueError("late"))

    assert theirs.AsyncResult(one).get(timeout=5) == {"state": "pending"}
    stored, plain = (theirs.backend.get_task_meta(each) for each in (one, other))
    assert {**stored, "task_id": "", "date_done": ""} == {**plain, "task_id": "", "date_done": ""}
    assert type(stored["date_done"]) is type(plain["date_done"])
