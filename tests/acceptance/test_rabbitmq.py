"""A fleet with RabbitMQ as its broker; the ledger is a Redis as always."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from kombu import Connection

from tests.acceptance.conftest import OUTCOME_QUEUE
from tests.acceptance.harness import CLIENT_SECRET, INTAKE, Fleet, Person, running_fleet, zoom
from tests.acceptance.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq
from tests.acceptance.served import Served
from tests.acceptance.test_neighbours import ANOTHER, said_by_another_fleet
from tests.waiting import wait_until

pytestmark = needs_rabbitmq


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(broker: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Worker and beat, which nothing restarts; its outcomes are also sent to a consumer's queue."""
    settings = {"OUTCOME_TASK": "billing.settle", "OUTCOME_QUEUE": OUTCOME_QUEUE, "RELINK_REMINDERS": "3600"}
    home = tmp_path_factory.mktemp("fleet")
    with running_fleet(home, "worker", settings, broker=broker.url) as running:
        running.start("beat")
        yield running


@pytest.fixture(scope="module")
def served(fleet: Fleet) -> Served:
    """`reconciler serve`; it ends with the fleet."""
    return Served(fleet.start)


def _received(broker: RabbitMQ) -> Iterator[str]:
    """Consume the consumer's queue; returns the id of each outcome."""
    with Connection(broker.url) as connection, connection.SimpleQueue(OUTCOME_QUEUE) as queue:
        while len(queue):
            message = queue.get(timeout=5)
            _, kwargs, _ = message.payload
            message.ack()
            yield kwargs["outcome"]["id"]


def _arrive(broker: RabbitMQ, outcome_ids: set[str]) -> None:
    """Wait until all of these outcomes have been on the consumer's queue."""
    received: set[str] = set()

    def arrived() -> bool:
        received.update(_received(broker))
        return outcome_ids <= received

    wait_until(arrived, 15, 0.2, what="all outcomes")


def _doctor(fleet: Fleet) -> Mapping[str, str]:
    return {check["name"]: check["state"] for check in json.loads(fleet.run("doctor", "--json").stdout)}


def _pending(person: Person, name: str) -> list[str]:
    event_ids = [f"{name}-{number}" for number in range(20)]
    for event_id in event_ids:
        person.stick(event_id)
        person.write_and_track(event_id, "pro_zoom")
    return event_ids


def _settle(person: Person, event_ids: list[str]) -> None:
    for event_id in event_ids:
        person.stick(event_id, on=False)
    for event_id in event_ids:
        person.outcome("assigned", event_id, 60)


def test_a_fleet_does_not_start_where_another_serves_its_queues(fleet: Fleet, tmp_path: Path) -> None:
    assert "are served by workers with another client id" in said_by_another_fleet(fleet, tmp_path, **ANOTHER)


def test_everything_works(fleet: Fleet, broker: RabbitMQ) -> None:
    """A profile is replaced and a user is asked; the consumer gets each outcome; the doctor finds nothing."""
    moved = fleet.person(zoom("pro_new"), removed_profiles=["pro_old"])
    moved.write_and_track("moved", "pro_old", provider_name="zoom")
    asked = fleet.person(zoom("pro_asked", connected=False))
    asked.write_and_track("asked", "pro_asked")

    moved.outcome("assigned", "moved")
    asked.outcome("relink_requested", None)

    wait_until(asked.mails, 15, what="the relink email")
    _arrive(broker, {outcome["id"] for outcome in fleet.outcomes()})
    assert asked.explain("asked")["cause"] == "credentials_expired"
    assert set(_doctor(fleet).values()) == {"ok"}
    queues = json.loads(fleet.run("status", "--json").stdout)["queues"]
    assert set(queues.values()) <= {0, 1}


def test_unreadable_messages_do_not_end_a_worker(fleet: Fleet, broker: RabbitMQ) -> None:
    """Each is dropped with its reason, once, and the same worker carries on."""
    with Connection(broker.url) as connection:
        publish = connection.Producer(routing_key=INTAKE).publish
        publish("{broken", content_type="application/json", content_encoding="utf-8")
        publish(b"\x80\x02", content_type="application/x-python-serialize", content_encoding="binary")
        publish({"no": "task"}, serializer="json")
        publish([[], {}, {}], serializer="json", headers={"task": "conferencing.unknown", "id": "1"})

    wait_until(lambda: len(fleet.logged("message.dropped")) == 4, 15, what="all to be dropped")
    reasons = sorted(line["reason"] for line in fleet.logged("message.dropped"))
    assert reasons == ["content_type", "undecodable", "unknown_protocol", "unknown_task"]
    fleet.answers()
    assert fleet.up.process.poll() is None


def test_a_broker_that_is_killed_loses_no_outcome(fleet: Fleet, broker: RabbitMQ, long: bool) -> None:
    """Worker and beat survive and carry on; every outcome is on the consumer's queue."""
    if not long:
        pytest.skip("this belongs to the long form")
    person = fleet.person(zoom("pro_zoom"))
    event_ids = _pending(person, "killed")
    last = fleet.person(zoom("pro_zoom"))

    broker.kill()

    wait_until(lambda: fleet.logged("redis.unavailable"), 30, what="the log line")
    assert _doctor(fleet)["broker"] == "wrong"
    broker.start()
    _settle(person, event_ids)
    assert [child.process.poll() for child in fleet.children[:2]] == [None, None]
    assert [fleet.run("healthcheck", role).returncode for role in ("worker", "beat")] == [0, 0]
    _arrive(broker, {o["id"] for o in fleet.outcomes() if o["sub"] in {person.sub, last.sub}})


def test_a_broker_that_accepts_no_messages_is_reported(
    fleet: Fleet, broker: RabbitMQ, served: Served, long: bool
) -> None:
    """Low on memory it just stops reading: that is logged, notifications are put off; then work continues."""
    if not long:
        pytest.skip("this belongs to the long form")
    person = fleet.person(zoom("pro_zoom"))
    event_ids = _pending(person, "blocked")
    logged = len(fleet.logged("redis.unavailable"))

    broker.control("set_vm_memory_high_watermark", "0.000001")

    wait_until(lambda: len(fleet.logged("redis.unavailable")) > logged, 60, what="the log line")
    [line] = fleet.logged("redis.unavailable")[logged:][:1]
    assert line["server"] == "broker"
    assert _doctor(fleet)["broker"] == "wrong"
    begun = time.monotonic()
    assert served.post(b"{}", CLIENT_SECRET) == 503
    assert time.monotonic() - begun < 2
    assert fleet.run("healthcheck", "beat").returncode == 0
    broker.control("set_vm_memory_high_watermark", "0.4")
    _settle(person, event_ids)
    assert served.post(b"{}", CLIENT_SECRET) == 204
