"""Two workers and two beats on one ledger."""

from __future__ import annotations

import time
from collections import Counter

from tests.acceptance.harness import Fleet, Person, zoom
from tests.acceptance.processes import Child
from tests.waiting import wait_until


def _settles(person: Person, event_ids: list[str]) -> None:
    for event_id in event_ids:
        person.outcome("assigned", event_id, 20)


def test_two_workers_and_two_beats_do_each_thing_once(fleet: Fleet) -> None:
    """Every event settles, and has each of its outcomes exactly once; what was written, was written once."""

    def ready() -> int:
        return fleet.log.read_bytes().count(b"worker.ready")

    before = ready()
    extra: list[Child] = [fleet.start("worker"), fleet.start("beat")]
    try:
        wait_until(lambda: ready() > before, 20, what="the second worker")
        well = [fleet.person(zoom("pro_zoom")) for _ in range(4)]
        moved = fleet.person(zoom("pro_new"), removed_profiles=["pro_old"])
        asked = fleet.person(zoom("pro_asked", connected=False))
        event_ids = [f"shared-{number}" for number in range(6)]
        for event_id in event_ids:
            for person in well:
                person.write_and_track(event_id, "pro_zoom")
            moved.write_and_track(event_id, "pro_old", provider_name="zoom")
        asked.write_and_track("asked", "pro_asked")
        asked.outcome("relink_requested", None)
        fleet.control.reconnect_profile(asked.sub, "pro_asked")
        for person in [*well, moved]:
            _settles(person, event_ids)
        _settles(asked, ["asked"])
        time.sleep(1.5)  # Some more ticks of either beat.
        assert all(child.process.poll() is None for child in extra)
    finally:
        for child in extra:
            child.ask_to_end()
        codes = [child.end() for child in extra]
        for child in extra:
            fleet.children.remove(child)

    assert codes == [0, 0]
    once = [("account_connected", None), *(("assigned", event_id) for event_id in event_ids)]
    for person in well:
        assert Counter(person.told()) == Counter(once)
    assert Counter(moved.told()) == Counter([*once, *(("reassigned", event_id) for event_id in event_ids)])
    written = Counter(w["event_id"] for w in fleet.control.writes() if w["sub"] == moved.sub)
    assert written == dict.fromkeys(event_ids, 2)  # Once by the caller, once by us.
    kinds = ["account_connected", "relink_requested", "relinked"]
    assert Counter(asked.told()) == Counter([*((kind, None) for kind in kinds), ("assigned", "asked")])
    assert len(asked.mails()) == 1
