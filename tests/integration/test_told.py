"""What tells of a fault is what docs/watching.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.server import RunningSandbox
from tests.contract.documents import code, firsts, table, text_of
from tests.integration.told import FAULTS, row

QUICK = ("Redis is full", "Beat is dead")


@pytest.mark.parametrize("name", FAULTS)
def test_the_row_of_a_fault_is_what_it_shows(
    running: RunningSandbox, tmp_path: Path, name: str, long: bool
) -> None:
    """To write the table: python -m tests.integration.told"""
    if not long and name not in QUICK:
        pytest.skip("each takes seconds: in the long form")
    [documented] = [line for line in table("docs/watching.md", "fault") if line[0] == name]

    assert tuple(documented) == row(running, tmp_path, name)


def test_the_lines_of_the_log_and_the_alerts_exist() -> None:
    """They are named here, and listed where an operator looks them up."""
    alerts = text_of("deploy/prometheus/alerts.yml")
    lines = set(firsts(table("docs/watching.md", "event")))

    assert [fault.alert for fault in FAULTS.values() if f"alert: {fault.alert}\n" not in alerts] == []
    assert [fault.log for fault in FAULTS.values() if fault.log and fault.log not in lines] == []


def test_no_fault_blames_beat_or_a_worker_but_their_own() -> None:
    """A Redis that takes no writes is no reason to ask whether beat runs."""
    asked = [
        line[0]
        for line in table("docs/watching.md", "fault")
        if "beat" in " ".join(line[1:4]).lower() and not code(line[1])
    ]

    assert asked == ["Beat is dead"]
