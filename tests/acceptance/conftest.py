"""The fleets that several modules share: starting one takes seconds; separate accounts keep tests apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.harness import Fleet, running_fleet
from tests.ports import free_port

OUTCOME_QUEUE = "billing.outcomes"

_running: list[Fleet] = []


def _until_the_end(fleet: Fleet) -> Iterator[Fleet]:
    """Yield the fleet; all end together, after the last test."""
    _running.append(fleet)
    yield fleet
    for running in _running:
        running.ask_to_end()
    _running.remove(fleet)


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """`reconciler up` with a fast clock and short leases; outcomes also go to a consumer's queue."""
    settings = {
        "OUTCOME_TASK": "billing.settle",
        "OUTCOME_QUEUE": OUTCOME_QUEUE,
        # A lease is ten seconds longer than a look may take.
        "LOOK_TIMEOUT": "3",
        "HTTP_TIMEOUT": "3",
        # What a killed worker held is soon released, for later tests too.
        "TASK_TIME_LIMIT": "12",
        "VISIBILITY_TIMEOUT": "15",
    }
    with running_fleet(tmp_path_factory.mktemp("fleet"), settings=settings) as running:
        yield from _until_the_end(running)


@pytest.fixture(scope="package")
def quiet_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """`reconciler up` with a public URL, that looks at nothing on its own during a test."""
    settings = {
        "WEBHOOK_URL": f"http://127.0.0.1:{free_port()}",
        "RECHECK_MIN": "300",
        "RECHECK_MAX": "3600",
        "GRACE": "300",
        "ESCALATE_AFTER": "3600",
        "ESCALATE_BEFORE": "300",
    }
    with running_fleet(tmp_path_factory.mktemp("quiet"), settings=settings) as running:
        yield from _until_the_end(running)
