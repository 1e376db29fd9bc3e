"""Hostile calls to a real worker: it survives, keeps or drops bad ones, and carries out good ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgpack
import pytest
from celery.result import AsyncResult

from tests.acceptance.harness import INTAKE, Caller, Fleet, running_fleet, zoom
from tests.faults.hostile_messages import MESSAGES
from tests.faults.record import Record
from tests.waiting import wait_until

ONE = {"sub": "acc_hostile", "calendar_id": "cal", "event_id": "e1"}
EVENT = {"event_id": "e1", "summary": "x", "start": "2030-01-01T10:00:00Z", "end": "2030-01-01T11:00:00Z"}
#: Each public task with valid arguments.
TASKS: dict[str, dict[str, Any]] = {
    "connect_account": {"sub": "acc_hostile", "refresh_token": "r"},
    "forget_account": {"sub": "acc_hostile"},
    "track": {"sub": "acc_hostile", "calendar_id": "cal", "event": EVENT},
    "untrack": ONE,
    "acknowledge": ONE,
    "reconcile_event": ONE,
    "reconcile_account": {"sub": "acc_hostile"},
    "explain": ONE,
    "receive_notification": {"body": "{}", "signature": "s"},
}


#: A hundred nested lists.
DEEP = json.loads("[" * 100 + "]" * 100)


@dataclass(frozen=True)
class Call:
    """One call that is refused."""

    name: str
    task: str
    kwargs: dict[str, Any]
    #: How the reason begins.
    reason: str
    args: tuple[Any, ...] = ()


def _calls() -> list[Call]:
    calls = []
    for task, good in TASKS.items():
        first = next(iter(good))
        without = {name: value for name, value in good.items() if name != first}
        calls += [
            Call("an unknown argument", task, {**good, "colour": "red"}, "colour: "),
            Call("a missing argument", task, without, f"{first}: "),
            Call("a number", task, {**good, first: 7}, f"{first}: "),
            Call("a list", task, {**good, first: [good[first]]}, f"{first}: "),
            Call("null", task, {**good, first: None}, f"{first}: "),
            Call("NaN", task, {**good, first: float("nan")}, "A number is NaN or infinite"),
            Call("infinite", task, {**good, "colour": float("-inf")}, "A number is NaN or infinite"),
            Call("deep", task, {**good, first: DEEP}, "The payload is nested"),
            Call("1 MB", task, {**good, first: "x" * 1_000_000}, "The payload is 1000"),
            Call("a lone surrogate", task, {**good, first: "\ud800"}, "A string is not valid Unicode"),
            Call("a surrogate's name", task, {**good, "\udfff": 1}, "A string is not valid Unicode"),
            Call("positional", task, {}, "Only keyword arguments", tuple(good.values())),
        ]
    return calls


CALLS = _calls()
AWAY = timedelta(days=2)
#: Seconds allowed for anything on a busy machine.
PATIENCE = 120


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Worker and beat, which nothing restarts, with everything they talk to."""
    with running_fleet(tmp_path_factory.mktemp("hostile"), "worker") as running:
        running.start("beat")
        yield running


def test_every_refused_call_is_kept_and_the_good_ones_between_are_done(fleet: Fleet, record: Record) -> None:
    """Each is answered with its reason and kept under it, changes nothing, and the same worker carries on."""
    before = kept_dead_letters(fleet)
    person = fleet.person(zoom("pro_hostile"))
    sent: list[tuple[Call, AsyncResult[Any]]] = []
    good = []
    for number, call in enumerate(CALLS):
        sent.append((call, fleet.caller._send(call.task, call.args, call.kwargs)))
        if number % 10 == 0:
            good.append(f"good{number}")
            person.track(person.write(good[-1], "pro_hostile", AWAY))

    failures = [(call, str(result.get(timeout=PATIENCE, propagate=False))) for call, result in sent]
    for event_id in good:
        person.outcome("assigned", event_id, seconds=PATIENCE)
    kept = kept_dead_letters(fleet) - before
    wanted = Counter((f"conferencing.{call.task}", failure) for call, failure in failures)
    lost, doubled = (wanted - kept).total(), (kept - wanted).total()
    record("Hostile payloads", injected=len(CALLS), events=len(good), lost=lost, doubled=doubled)
    wrong = [(call, failure) for call, failure in failures if not failure.startswith(call.reason)]
    assert wrong == []
    assert {type(result.result).__name__ for _, result in sent} == {"BadPayload"}
    assert (lost, doubled) == (0, 0)
    assert fleet.redis.keys("reconciler:*acc_hostile*") == []
    assert fleet.up.process.poll() is None


def test_no_message_ends_the_worker_or_comes_back(fleet: Fleet, record: Record) -> None:
    """Whatever only looks like a message is carried out, kept or dropped; the next good call is answered."""
    person = fleet.person(zoom("pro_messages"))
    good = []
    for number, raw in enumerate(MESSAGES.values()):
        fleet.redis.lpush(INTAKE, raw)
        if number % 5 == 0:
            good.append(f"good{number}")
            person.track(person.write(good[-1], "pro_messages", AWAY))
        fleet.answers()

    wait_until(fleet.drained, PATIENCE, what="the queues to drain")
    for event_id in good:
        person.outcome("assigned", event_id, seconds=PATIENCE)
    record("Hostile messages", injected=len(MESSAGES), events=len(good))
    assert fleet.up.process.poll() is None


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_countdown_is_refused_at_once(fleet: Fleet, protocol: int) -> None:
    """A worker that waited for it would hold the message beyond the visibility timeout, and others get it."""
    before = kept_dead_letters(fleet)
    with closing(Caller(fleet.redis_url)) as caller:
        caller._app.conf.task_protocol = protocol
        sent = caller._send("forget_account", (), {"sub": "acc_later"}, countdown=600)
        refused = sent.get(timeout=PATIENCE, propagate=False)
    assert str(refused) == "A countdown or ETA is not accepted: send the task when it is due."
    assert kept_dead_letters(fleet) - before == {("conferencing.forget_account", str(refused)): 1}
    wait_until(fleet.drained, PATIENCE, what="the message to be acknowledged")


def kept_dead_letters(fleet: Fleet) -> Counter[tuple[str, str]]:
    """The dead letters by task and reason."""
    entries: Any = fleet.redis.xrange("reconciler:dead-letters")
    opened = (msgpack.unpackb(fields[b"letter"]) for _, fields in entries)
    return Counter((letter["task"], letter["reason"]) for letter in opened)
