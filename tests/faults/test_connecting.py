"""A profile that comes while its user is asked to connect one."""

from __future__ import annotations

from datetime import timedelta

from tests.faults.callers import Callers
from tests.faults.simulation import Simulation

HOUR = timedelta(hours=1)


def test_a_profile_that_may_be_somebody_elses_brings_no_endless_looks(simulation: Simulation) -> None:
    """A person was asked whose it is; until they answer, its events are looked at as seldom as others."""
    callers = Callers(simulation)
    callers.join("acc")
    callers.connect("acc")
    callers.write_and_track("acc", "e1", 200 * HOUR, "z1")
    for profile in ("z1", "z2"):
        callers.remove("acc", profile)
    simulation.work(HOUR)
    simulation.cronofy.connect("acc", "z3", "zoom", "somebody.else@zoom.example")
    simulation.work(2 * HOUR)
    callers.write_and_track("acc", "e2", 200 * HOUR, "z1")
    simulation.work(12 * HOUR)

    before = simulation.looks
    simulation.work(12 * HOUR)

    assert simulation.looks - before <= 12
