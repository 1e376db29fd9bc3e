"""Moments as people and callers give them."""

from __future__ import annotations

from datetime import datetime

from config.durations import parse_duration
from worker.diagnosis.times import parse_instant


def moment(text: str, now: datetime) -> datetime:
    """An ISO 8601 time, or a duration from now on; ValueError says how to write one."""
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        pass
    try:
        return now + parse_duration(text)
    except (ValueError, OverflowError):
        raise ValueError(
            "must be a time such as 2026-12-01T09:00:00Z, or a duration from now on such as P3D"
        ) from None
