"""Orderly shutdown, and processes that are killed in the middle of their work."""

from __future__ import annotations

import os
import signal
from collections import Counter

from tests.acceptance.harness import Fleet, zoom
from tests.acceptance.processes import children_of, runs
from tests.waiting import wait_until


def test_up_shuts_down_cleanly_and_resumes_its_work(fleet: Fleet) -> None:
    """SIGTERM ends it within 15 s with exit code 0 and no process left; after a restart work continues."""
    asked = fleet.person(zoom("pro_asked", connected=False))
    asked.write_and_track("asked", "pro_asked")
    asked.outcome("relink_requested", None)
    wait_until(asked.mails, 10, what="the relink email")
    worker, beat = fleet.up.role("worker"), fleet.up.role("beat")
    assert worker is not None
    assert beat is not None
    processes = [fleet.up.pid, worker, beat, *children_of(worker)]
    assert len(processes) >= 4

    fleet.up.process.send_signal(signal.SIGTERM)

    assert fleet.up.process.wait(15) == 0
    assert [pid for pid in processes if runs(pid)] == []
    fleet.restart()
    fleet.control.reconnect_profile(asked.sub, "pro_asked")
    asked.outcome("assigned", "asked")
    connected = ("account_connected", None)
    expected = [connected, ("relink_requested", None), ("relinked", None), ("assigned", "asked")]
    assert Counter(asked.outcome_kinds()) == Counter(expected)
    # A reminder was due after three seconds; but nobody is asked again.
    assert [mail["subject"].startswith("Reconnect") for mail in asked.mails()].count(True) == 1


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
