"""Samples of the backlog: pending events by cause, every few minutes for a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from redis import Redis

from worker.diagnosis.model import Cause
from worker.ledger.keys import Keys
from worker.ledger.packing import CAUSES
from worker.ledger.paging import added_at

#: How often a sweep takes a sample, and how long it is kept; ``sample`` in ``common.lua`` decides both.
EVERY = timedelta(minutes=5)
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sample:
    """The backlog at one moment; the cause None stands for events not looked at yet."""

    at: datetime
    pending: int
    causes: Mapping[Cause | None, int]


def read_backlog(redis: Redis, keys: Keys) -> list[Sample]:
    """The samples of the last day, oldest first."""
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange(keys.backlog))
    return [_sample(entry_id, fields) for entry_id, fields in entries]


def _sample(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Sample:
    counts = {int(name): int(count) for name, count in fields.items() if name.isdigit()}
    causes = {CAUSES[number]: count for number, count in counts.items() if number < len(CAUSES)}
    return Sample(added_at(entry_id), int(fields.get(b"pending", 0)), causes)
