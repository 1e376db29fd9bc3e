"""Times as Cronofy writes them (Cronofy API reference §2): instants, local times and whole days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

LONGEST_TIME = 64


class MalformedTime(ValueError):
    """Not a valid time."""


@dataclass(frozen=True, slots=True)
class EventTime:
    """The start or end of an event: a moment, or the beginning of a day in a zone.

    `wire` is Cronofy's own value, to be sent back unchanged.
    """

    instant: datetime
    all_day: bool
    tzid: str | None
    wire: Any

    @property
    def local(self) -> datetime | date:
        """The time in the event's zone, or just the day."""
        try:
            local = self.instant.astimezone(zone(self.tzid))
        except OverflowError:
            # The year 1 or 9999, which some zones push out of datetime's range.
            local = self.instant
        return local.date() if self.all_day else local


def zone(tzid: str | None) -> ZoneInfo:
    """The named zone, or UTC (Cronofy's default) if it is unknown or missing."""
    try:
        return ZoneInfo(tzid or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def parse_event_time(value: Any, tzid: str | None = None) -> EventTime | None:
    """Read a ``start`` or ``end``: a Date, a Time, or ``{"time", "tzid"}`` holding either.

    `tzid` is the zone for a value without its own; a whole day begins at midnight there. None stays None;
    anything unreadable raises MalformedTime.
    """
    if value is None:
        return None
    text, own = value, None
    if isinstance(value, dict):
        text, own = value.get("time"), value.get("tzid")
        if own is not None and not (isinstance(own, str) and own.isprintable()):
            raise MalformedTime("a tzid that is not text")
        value = {"time": text} if own is None else {"time": text, "tzid": own}
    if not isinstance(text, str) or len(text) > LONGEST_TIME:
        raise MalformedTime("a time that is not text")
    tzid = own or tzid
    text = text.strip()
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            midnight = datetime.combine(day, time(), tzinfo=zone(tzid))
            return EventTime(midnight.astimezone(UTC), all_day=True, tzid=tzid, wire=value)
        moment = parse_instant(text, tzid)
    except (ValueError, OverflowError):
        raise MalformedTime("a time that cannot be read") from None
    return EventTime(moment, all_day=False, tzid=tzid, wire=value)


@lru_cache(maxsize=4096)
def parse_instant(text: str, tzid: str | None = None) -> datetime:
    """Read an ISO 8601 time, or Cronofy's ``2014-08-05 15:30:00Z``, as an aware UTC datetime.

    A time without an offset is in `tzid`. Raises ValueError or OverflowError. Cached, since looks keep
    reading the same few times.
    """
    moment = datetime.fromisoformat(text.replace(" UTC", "Z"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone(tzid))
    return moment.astimezone(UTC)
