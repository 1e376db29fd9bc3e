"""What events wait for together: what counts as a report of it, and when one that is held is looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.unit.builders import DAY, HOUR, MINUTE, NOW, POLICY, SECOND
from worker.diagnosis.model import Cause, Certainty, Diagnosis, LastResort, Remedy, Rung, State
from worker.diagnosis.schedule import held_look, is_report

FAILS = Diagnosis(State.PENDING, Cause.PROVIDER_OUTAGE, Certainty.CERTAIN, ("It fails.",), Remedy.WAIT)


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param(10 * DAY, 6 * HOUR, id="far away: the longest interval"),
        pytest.param(3 * HOUR, 2 * HOUR, id="when a person should know"),
        pytest.param(HOUR + 30 * SECOND, 30 * SECOND, id="as soon as may be, when that is now"),
        pytest.param(HOUR, 45 * MINUTE, id="after that, when the last resort is due"),
        pytest.param(10 * MINUTE, 9 * MINUTE, id="after that, just before the start"),
        pytest.param(50 * SECOND, 50 * SECOND, id="after that, at the start"),
        pytest.param(0 * SECOND, 6 * HOUR, id="it starts now"),
        pytest.param(None, 6 * HOUR, id="no start known"),
        pytest.param(-HOUR, 6 * HOUR, id="it has started"),
    ],
)
def test_a_held_event_is_looked_at_before_its_start(left: timedelta | None, expected: timedelta) -> None:
    """A few times, each for a reason."""
    start = None if left is None else NOW + left

    assert held_look(FAILS, start, NOW, POLICY) == NOW + expected


@pytest.mark.parametrize("wait", [7 * MINUTE, 30 * SECOND], ids=str)
def test_the_last_resort_has_its_time(wait: timedelta) -> None:
    """Whenever that is."""
    last_resort = LastResort(Rung.EXPLICIT, "explicit", NOW + wait)

    assert held_look(replace(FAILS, last_resort=last_resort), NOW + DAY, NOW, POLICY) == NOW + wait


@pytest.mark.parametrize(
    ("cause", "former", "age", "read", "expected"),
    [
        pytest.param("provider_outage", None, MINUTE, None, "provider_outage", id="notified"),
        pytest.param("provider_outage", "generating", MINUTE, None, "provider_outage", id="notified later"),
        pytest.param("provider_outage", "provider_outage", HOUR, MINUTE, None, id="only once"),
        pytest.param("credentials_expired", None, MINUTE, None, "credentials_expired", id="a lapse"),
        pytest.param("generating", "generating", MINUTE, None, None, id="it may still come"),
        pytest.param("generating", "generating", HOUR, MINUTE, "provider_outage", id="GRACE is over"),
        pytest.param("generating", "generating", POLICY.grace, None, "provider_outage", id="just over"),
        pytest.param("generating", "generating", HOUR, POLICY.grace, None, id="just over at the last read"),
        pytest.param(
            "generating", "generating", HOUR, 30 * MINUTE, None, id="GRACE was over at the last read"
        ),
        pytest.param("profile_removed", None, MINUTE, None, None, id="its own fault"),
    ],
)
def test_reports(
    cause: str, former: str | None, age: timedelta, read: timedelta | None, expected: str | None
) -> None:
    """What is newly found, or what should have its link by now; `read`: how old it was at its last read."""
    asked_at: datetime = NOW - age
    diagnosis = replace(FAILS, cause=Cause(cause))
    read_at = None if read is None else asked_at + read

    found = is_report(diagnosis, Cause(former) if former else None, read_at, asked_at, NOW, POLICY)

    assert found == expected
