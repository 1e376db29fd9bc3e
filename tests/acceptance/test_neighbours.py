"""What else may live on the same Redis database: a stock Celery application, and a second fleet."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from tests.acceptance.harness import Caller, Fleet, running_fleet, zoom
from tests.acceptance.processes import Child, run_command
from tests.acceptance.shop import ran, running_shop
from tests.waiting import wait_until

CONFIG = Path(__file__).parents[2] / "deploy/flower"
#: Short, so that messages of others would soon be taken for those of a dead worker of ours.
LIMITS = {"LOOK_TIMEOUT": "2", "HTTP_TIMEOUT": "2", "TASK_TIME_LIMIT": "3", "VISIBILITY_TIMEOUT": "4"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), "worker", LIMITS) as running:
        running.start("beat")
        yield running


@pytest.fixture(scope="module")
def shop(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a stock Celery application, with worker and beat on the fleet's database."""
    with running_shop(tmp_path_factory.mktemp("shop"), fleet.redis_url) as home:
        yield home


def test_a_stock_celery_on_the_same_database_runs_each_of_its_tasks_once(fleet: Fleet, shop: Path) -> None:
    """A countdown, a late acknowledgement and a retry, each longer than our visibility timeout."""
    with Celery("shop", broker=fleet.redis_url, set_as_current=False) as app:
        app.send_task("shop.note", ["countdown"], countdown=10)
        app.send_task("shop.slow")
        app.send_task("shop.retried")
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("ours", "pro_zoom")
    person.outcome("assigned", "ours")

    done = ("countdown", "slow", "retried")
    # The countdown ends last, after the slow task and the retry would have come back.
    wait_until(lambda: "countdown" in ran(shop), 30, 0.25, what="the countdown")
    wait_until(lambda: fleet.redis.hlen("unacked") == 0, 30, 0.25, what="the shop to be idle")
    lines = Counter(ran(shop).splitlines())
    assert set(lines.values()) == {1}, lines
    assert Counter(line.split()[0] for line in lines if not line.startswith("beat")) == {
        **dict.fromkeys(done, 1),
        "retried": 2,
    }


def _inspected(fleet: Fleet, home: Path, *options: str) -> set[str]:
    """The first parts of the names of the workers that answer `celery inspect ping`."""
    command = [sys.executable, "-m", "celery", "--broker", fleet.redis_url, *options, "inspect", "ping"]

    def answered() -> list[str]:
        found = subprocess.run([*command, "--json"], cwd=home, capture_output=True, text=True, check=False)
        return list(json.loads(found.stdout or "{}"))

    # A busy machine may need more than one question.
    workers = wait_until(answered, 30, 0, what="an answer") or []
    return {re.split("[@-]", worker)[0] for worker in workers}


def test_remote_control_reaches_only_ones_own_workers(fleet: Fleet, shop: Path) -> None:
    assert _inspected(fleet, shop) == {"celery"}
    assert _inspected(fleet, CONFIG, "--config", "celeryconfig") == {"reconciler"}


def test_doctor_names_what_else_lives_on_the_database(fleet: Fleet, shop: Path) -> None:
    fleet.redis.mset({"session:1": "x", "session:2": "x", "cache:1": "x"})
    findings = {f["name"]: f for f in json.loads(fleet.run("doctor", "--json").stdout)}
    found = findings["neighbours"]
    assert found["state"] == "ok"
    assert "another Celery" in found["what"]
    assert "queue celery" in found["what"]
    assert "session:* (2)" in found["what"]


def test_two_fleets_with_different_key_prefixes_share_a_database(fleet: Fleet, tmp_path: Path) -> None:
    env = {**fleet.env, "RECONCILER_KEY_PREFIX": "second"}
    second = Child(tmp_path, env, tmp_path / "log", "worker")
    caller = Caller(fleet.redis_url, prefix="second")
    try:
        caller.call("connect_account", sub="acc_second", refresh_token="secret")
    finally:
        caller.close()
        second.end()
    assert fleet.redis.exists("second:account:acc_second")
    assert not fleet.redis.exists("reconciler:account:acc_second")
    assert not fleet.redis.exists("reconciler:dead_letters")


def said_by_another_fleet(fleet: Fleet, home: Path, **settings: str) -> str:
    """What a worker with these settings says on the fleet's queues; it must end by itself."""
    env = fleet.env | {f"RECONCILER_{name}": value for name, value in settings.items()}
    other = Child(home, env, home / "log", "worker")
    try:
        assert other.process.wait(20) == 1
    finally:
        other.end()
    return (home / "log").read_text()


ANOTHER = {"CRONOFY_CLIENT_ID": "another-client"}


def test_a_fleet_does_not_start_where_another_serves_its_queues(fleet: Fleet, tmp_path: Path) -> None:
    """Two applications of Cronofy's on one set of queues would mix their accounts."""
    said = said_by_another_fleet(fleet, tmp_path, **ANOTHER)
    assert "are served by workers with another client id (sandbox-client)" in said
    assert "RECONCILER_KEY_PREFIX" in said
    env = {**fleet.env, "RECONCILER_CRONOFY_CLIENT_ID": "another-client"}
    assert "another client id (sandbox-client) consume" in run_command(tmp_path, env, "doctor").stdout


def test_a_fleet_does_not_start_where_its_queues_lead_to_another_ledger(fleet: Fleet, tmp_path: Path) -> None:
    """Callers would be told that an account is stored, and half of them were in the other ledger."""
    elsewhere = {"BROKER_URL": fleet.redis_url, "REDIS_URL": fleet.redis_url.removesuffix("/0") + "/1"}
    said = said_by_another_fleet(fleet, tmp_path, **elsewhere)
    assert "are served by workers with another ledger" in said
