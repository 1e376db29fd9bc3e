"""Orderly shutdown, and processes that are killed in the middle of their work."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

from tests.acceptance.harness import Fleet, zoom
from tests.acceptance.processes import children_of, runs
from tests.waiting import wait_until


def test_up_shuts_down_cleanly_and_resumes_its_work(fleet: Fleet) -> None:
    """SIGTERM ends it within 15 s with exit code 0; after a restart nothing is published or written twice."""
    moved = fleet.person(zoom("pro_new"), removed_profiles=["pro_old"])
    moved.write_and_track("moved", "pro_old", provider_name="zoom")
    moved.outcome("assigned", "moved")
    asked = fleet.person(zoom("pro_asked", connected=False))
    asked.write_and_track("asked", "pro_asked")
    asked.outcome("relink_requested", None)
    wait_until(asked.mails, 10, what="the relink email")
    stuck = fleet.person(zoom("pro_zoom"))
    event_ids = [f"pending-{number}" for number in range(10)]
    for event_id in event_ids:
        stuck.stick(event_id)
        stuck.write_and_track(event_id, "pro_zoom")
    worker, beat = fleet.up.role("worker"), fleet.up.role("beat")
    assert worker is not None
    assert beat is not None
    processes = [fleet.up.pid, worker, beat, *children_of(worker)]
    assert len(processes) >= 4

    fleet.up.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = fleet.up.process.wait(15)

    assert code == 0
    assert time.monotonic() - began < 15
    assert [pid for pid in processes if runs(pid)] == []
    fleet.restart()
    fleet.control.reconnect_profile(asked.sub, "pro_asked")
    for event_id in event_ids:
        stuck.stick(event_id, on=False)
    for event_id in event_ids:
        stuck.outcome("assigned", event_id)
    asked.outcome("assigned", "asked")
    time.sleep(1)
    connected = ("account_connected", None)
    assert Counter(moved.outcome_kinds()) == Counter(
        [connected, ("reassigned", "moved"), ("assigned", "moved")]
    )
    assert len(fleet.writes(moved.sub)) == 1
    expected = [connected, ("relink_requested", None), ("relinked", None), ("assigned", "asked")]
    assert Counter(asked.outcome_kinds()) == Counter(expected)
    # A reminder was due after three seconds; but none comes twice, and nobody is asked again.
    mails = asked.mails()
    assert set(Counter(mail["message_id"] for mail in mails).values()) == {1}
    assert [mail["subject"].startswith("Reconnect") for mail in mails].count(True) == 1
    assigned = [outcome for outcome in stuck.outcome_kinds() if outcome[0] == "assigned"]
    assert Counter(assigned) == Counter(("assigned", event_id) for event_id in event_ids)


def test_the_next_worker_takes_over_from_a_killed_one(fleet: Fleet) -> None:
    """All processes of the worker are killed during a look; `up` restarts it, and the event settles."""
    person = fleet.person(zoom("pro_zoom"))
    slow = {"path_prefix": "/v1/events", "sub": person.sub}
    fleet.control.add_fault("slow", match=slow, seconds=2.5, times=1)
    person.write_and_track("held", "pro_zoom")
    wait_until(lambda: fleet.requests(person.sub, path="/v1/events"), 15, what="the look to start")
    assert fleet.redis.zscore("reconciler:leased", person.sub) is not None
    worker = fleet.up.role("worker")
    assert worker is not None

    killed = [worker, *children_of(worker)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    wait_until(lambda: not any(runs(pid) for pid in killed), 5, what="the killed processes to be gone")
    assert person.outcome_kinds() == [("account_connected", None)]
    person.outcome("assigned", "held", 60)
    assert fleet.up.process.poll() is None
    assert fleet.up.role("worker") not in {None, worker}
    assert Counter(person.outcome_kinds()) == Counter([("account_connected", None), ("assigned", "held")])
