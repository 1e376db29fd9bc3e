"""The fleets for fault tests: quick to recover, and slow to escalate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from tests.acceptance.harness import Caller, Fleet, running_fleet

#: What a dead process held is soon free; nothing is escalated and nobody reminded during a test.
SETTINGS = {
    "LOOK_TIMEOUT": "3",
    "HTTP_TIMEOUT": "3",
    "TASK_TIME_LIMIT": "5",
    "VISIBILITY_TIMEOUT": "6",
    "ESCALATE_AFTER": "3600",
    "RELINK_REMINDERS": "3600",
    "API_PER_SECOND": "500",
    "API_PER_MINUTE": "30000",
}


@contextmanager
def fleet_of_roles(
    home: Path,
    *,
    ledger: str | None = None,
    broker: str | None = None,
    smtp_login: str = "",
    callers: str | None = None,
    redis: Redis | None = None,
    caller: Caller | None = None,
    **settings: str,
) -> Iterator[Fleet]:
    """A worker and beat, each a separate process that nothing restarts; Cronofy has no limits."""
    home.mkdir(parents=True, exist_ok=True)
    with running_fleet(
        home, "worker", {**SETTINGS, **settings}, ledger, broker, smtp_login, callers, redis, caller
    ) as fleet:
        fleet.control.set_settings(per_second=0)
        fleet.start("beat")
        yield fleet
