"""Poison in a running fleet: a record that always fails, one that cannot be read, and the way back."""

from __future__ import annotations

import json
import time
import zlib
from typing import Any, cast

import msgpack

from tests.acceptance.harness import OPERATOR, Fleet, Person, zoom
from tests.waiting import wait_until

HEADER = 25


def record(person: Person, event_id: str) -> tuple[str, str, bytes]:
    """Key, field and value of an event's record in Redis."""
    key, wanted = f"reconciler:events:{person.sub}", event_id.encode()
    values = cast("dict[bytes, bytes]", person.fleet.redis.hgetall(key))
    [(field, value)] = [(field, value) for field, value in values.items() if field.endswith(wanted)]
    return key, cast("str", field), value


def rewrite(person: Person, event_id: str, **changed: Any) -> None:
    """Change a record behind the program's back."""
    key, field, value = record(person, event_id)
    calendar_id, name, content = msgpack.unpackb(zlib.decompress(value[HEADER:], -15), strict_map_key=False)
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(msgpack.packb([calendar_id, name, {**content, **changed}])) + packer.flush()
    person.fleet.redis.hset(key, field, cast("str", value[:HEADER] + packed))


def letters(person: Person) -> list[dict[str, Any]]:
    """The dead letters about this account."""
    listed = json.loads(person.fleet.run("dead-letters", "--json").stdout)
    return [letter for letter in listed if letter["kwargs"]["sub"] == person.sub]


def to_operator(person: Person) -> list[Any]:
    """The emails to the operator about this account."""
    mails = person.fleet.control.mail()
    return [mail for mail in mails if OPERATOR in mail["to"] and person.sub in json.dumps(mail)]


def test_what_always_fails_is_parked_and_comes_back_when_it_is_mended(fleet: Fleet) -> None:
    """Its neighbour gets its link as usual; an operator finds one email and one letter, and replays it."""
    person = fleet.person(zoom("pro_zoom"))
    for event_id in ("poisoned", "healthy"):
        person.stick(event_id)
        person.write_and_track(event_id, "pro_zoom")
    rewrite(person, "poisoned", asked_at="never")
    person.stick("healthy", on=False)
    person.stick("poisoned", on=False)

    person.outcome("assigned", "healthy", 10)
    told = person.outcome("escalated", "poisoned", 40)

    answer = person.explain("poisoned")
    assert (answer["state"], answer["next_check_at"]) == ("pending", None)
    assert told["detail"]["reason"] == answer["evidence"][0]
    [letter] = letters(person)
    assert letter["task"] == "conferencing.reconcile_event"
    shown = fleet.run("dead-letters", "show", letter["id"]).stdout
    assert "Traceback" in shown
    assert "TypeError" in shown
    wait_until(lambda: to_operator(person), 10, 0.2, what="the email to the operator")
    assert len(to_operator(person)) == 1
    rewrite(person, "poisoned", asked_at=int(time.time() * 1000))

    assert fleet.run("dead-letters", "replay", letter["id"]).returncode == 0

    person.outcome("assigned", "poisoned", 15)
    assert letters(person) == []
    kinds = [kind for kind, event_id in person.told() if event_id == "poisoned"]
    assert kinds == ["assigned", "escalated"]


def test_what_cannot_be_read_is_set_aside_and_tracked_anew(fleet: Fleet) -> None:
    """Its neighbour gets its link as usual; replayed, its letter has the event watched by its ids."""
    person = fleet.person(zoom("pro_zoom"))
    for event_id in ("damaged", "healthy"):
        person.stick(event_id)
        person.write_and_track(event_id, "pro_zoom")
    key, field, value = record(person, "damaged")
    fleet.redis.hset(key, field, cast("str", value[:HEADER] + b"\xff\xff damaged"))
    for event_id in ("damaged", "healthy"):
        person.stick(event_id, on=False)

    person.outcome("escalated", "damaged")
    person.outcome("assigned", "healthy", 10)

    assert person.explain("damaged") is None
    [letter] = letters(person)
    assert letter["task"] == "conferencing.track"
    assert fleet.run("dead-letters", "replay", letter["id"]).returncode == 0
    person.outcome("assigned", "damaged")
