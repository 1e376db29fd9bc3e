"""A damaged record in a running fleet: it is set aside, an operator is told, and there is a way back."""

from __future__ import annotations

import json
from typing import Any, cast

from tests.acceptance.harness import OPERATOR, Fleet, Person, zoom
from tests.waiting import wait_until


def dead_letters(person: Person) -> list[dict[str, Any]]:
    """The dead letters about this account."""
    listed = json.loads(person.fleet.run("dead-letters", "--json").stdout)
    return [entry for entry in listed if entry["kwargs"]["sub"] == person.sub]


def to_operator(person: Person) -> list[Any]:
    """The emails to the operator about this account."""
    mails = person.fleet.control.mail()
    return [mail for mail in mails if OPERATOR in mail["to"] and person.sub in json.dumps(mail)]


def test_an_unreadable_record_is_set_aside_and_tracked_again(fleet: Fleet) -> None:
    """Its neighbour gets its link as usual; replaying the dead letter tracks the event again by its ids."""
    person = fleet.person(zoom("pro_zoom"))
    for event_id in ("damaged", "healthy"):
        person.stick(event_id)
        person.write_and_track(event_id, "pro_zoom")
    key = f"reconciler:events:{person.sub}"
    fields = cast("list[bytes]", fleet.redis.hkeys(key))
    [field] = [field for field in fields if field.endswith(b"damaged")]
    fleet.redis.hset(key, cast("str", field), "what no program wrote")
    for event_id in ("damaged", "healthy"):
        person.stick(event_id, on=False)

    outcome = person.outcome("escalated", "damaged")
    person.outcome("assigned", "healthy", 10)

    assert person.explain("damaged") is None
    [dead_letter] = dead_letters(person)
    assert (dead_letter["task"], dead_letter["reason"]) == ("conferencing.track", outcome["detail"]["reason"])
    wait_until(lambda: to_operator(person), 10, 0.2, what="the email to the operator")
    assert fleet.run("dead-letters", "replay", dead_letter["id"]).returncode == 0
    person.outcome("assigned", "damaged")
    assert dead_letters(person) == []
    assert len(to_operator(person)) == 1
