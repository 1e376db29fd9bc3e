"""An event that makes every look fail, in a running fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from config.settings import load_settings
from tests.acceptance.harness import Fleet, zoom
from tests.faults.fleets import fleet_of_roles
from tests.waiting import wait_until
from worker.ledger.ledger import Ledger
from worker.ledger.opening import keyless_ledger
from worker.ledger.records import EventKey, to_ms


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A worker and beat."""
    with fleet_of_roles(tmp_path_factory.mktemp("poison")) as running:
        yield running


def _rewrite(ledger: Ledger, sub: str, key: EventKey, asked_at: Any) -> None:
    """Give a record a value that no look can work with, or a proper one again."""
    stored = ledger.find_pending(sub, key)
    assert stored is not None
    assert ledger.revive(sub, stored, replace(stored.event, asked_at=asked_at))


def test_it_is_parked_by_tasks_of_its_own_and_comes_back_when_it_is_fixed(fleet: Fleet) -> None:
    """A batch hands the account over once the event has failed; its neighbour gets its link as usual."""
    person = fleet.person(zoom("pro_zoom"))
    for event_id in ("poisoned", "healthy"):
        person.stick(event_id)
        person.write_and_track(event_id, "pro_zoom")
    ledger = keyless_ledger(fleet.redis, load_settings(redis_url=fleet.redis_url))
    key = EventKey(person.calendar_id, "poisoned")
    _rewrite(ledger, person.sub, key, "never")
    for event_id in ("poisoned", "healthy"):
        person.stick(event_id, on=False)

    person.outcome("assigned", "healthy", 15)
    escalated = person.outcome("escalated", "poisoned", 60)

    failed = [line for line in fleet.logged("event.failed") if line["event_id"] == "poisoned"]
    assert [line["attempts"] for line in failed] == [1, 2, 3, 4]
    assert [line["task"] for line in failed[1:]] == ["conferencing.look_at_account"] * 3
    assert escalated["detail"]["reason"].startswith("Parked: 5 looks in a row")
    listed = json.loads(fleet.run("dead-letters", "--json").stdout)
    [dead_letter] = [each for each in listed if each["kwargs"]["sub"] == person.sub]
    _rewrite(ledger, person.sub, key, to_ms(ledger.now()))

    assert fleet.run("dead-letters", "replay", dead_letter["id"]).returncode == 0

    person.outcome("assigned", "poisoned", 15)
    wait_until(lambda: fleet.run("dead-letters", "--json").stdout.strip() == "[]", 10, 0.5, what="no letter")
