"""Times, durations and amounts for people to read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def spoken(span: timedelta | float) -> str:
    """A duration (or seconds) in its two largest units: 45 s, 3 min 20 s, 2 d 4 h; below a second, 0 s."""
    seconds = int(span.total_seconds() if isinstance(span, timedelta) else span)
    parts: list[str] = []
    for unit, size in _UNITS:
        if seconds >= size or (unit == "s" and not parts):
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def second(moment: datetime) -> str:
    """A time to the second, in its own zone: 2026-11-25 08:56:11."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def utc(moment: datetime) -> str:
    """A time to the second, for readers anywhere: 2026-11-25 08:56:11 UTC."""
    return f"{second(moment.astimezone(UTC))} UTC"


def amount(number: int, one: str, many: str = "") -> str:
    """A number and what it counts: 1 event, 2,000 events."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
