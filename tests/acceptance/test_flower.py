"""Flower, Celery's monitor, next to a fleet: it shows workers and queues, but no payload."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.harness import Fleet, zoom
from tests.ports import free_port
from tests.waiting import wait_until

CONFIG = Path(__file__).parents[2] / "deploy/flower"
QUEUES = {"reconciler.intake", "reconciler.urgent", "reconciler.looks", "reconciler.mail"}


@pytest.fixture
def flower(fleet: Fleet) -> Iterator[httpx.Client]:
    """Flower as docker-compose.yml starts it, on a free port."""
    port = free_port()
    command = [sys.executable, "-m", "celery", "--config", "celeryconfig", "flower"]
    given = {"CELERY_BROKER_URL": fleet.redis_url, "FLOWER_BASIC_AUTH": "operator:secret"}
    process = subprocess.Popen(
        [*command, "--address=127.0.0.1", f"--port={port}"],
        cwd=CONFIG,
        env={**os.environ, **given},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=("operator", "secret")) as client:
            wait_until(lambda: _answers(client), 30, 0.1, what="Flower to answer")
            yield client
    finally:
        process.terminate()
        process.wait(10)


def test_flower_lets_nobody_in_without_the_password(flower: httpx.Client) -> None:
    """Whoever gets in can enqueue tasks."""
    assert httpx.get(flower.base_url.join("/api/workers")).status_code == 401
    assert httpx.get(flower.base_url.join("/api/workers"), auth=("operator", "")).status_code == 401


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthcheck").is_success
    except httpx.HTTPError:
        return False


def test_flower_shows_workers_but_no_payload(fleet: Fleet, flower: httpx.Client) -> None:
    """A worker is listed with its queues; it sends no task events, which would contain tokens."""

    def queues() -> set[str]:
        workers = flower.get("/api/workers", params={"refresh": "1"}, timeout=30).json()
        return {queue["name"] for worker in workers.values() for queue in worker.get("active_queues", [])}

    wait_until(lambda: queues() == QUEUES, 30, 0.5, what="the workers to be listed")
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("watched", "pro_zoom")
    person.outcome("assigned", "watched")
    assert flower.get("/api/tasks").json() == {}
    assert person.refresh_token not in flower.get("/workers").text
