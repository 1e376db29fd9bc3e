"""Times as Cronofy writes them (Cronofy API reference §2): instants, local times and whole days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from tzlocal.windows_tz import win_tz

LONGEST_TIME = 64
#: Where a day begins last. What is past here is past everywhere.
WESTERNMOST = ZoneInfo("Etc/GMT+12")
#: What Cronofy shows for a zone when nobody named one.
_DEFAULT = frozenset({"UTC", "Etc/UTC"})


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
    return known_zone(tzid) or ZoneInfo("UTC")


def known_zone(tzid: str | None) -> ZoneInfo | None:
    """The zone with this name, IANA's or that of Windows (`W. Europe Standard Time`), if there is one."""
    try:
        return ZoneInfo(win_tz.get(tzid, tzid)) if tzid else None
    except (KeyError, ValueError, OSError):
        return None


def names_zone(tzid: str | None) -> bool:
    """Whether a read names a zone: UTC is what Cronofy shows where it knows of none."""
    return bool(tzid) and tzid not in _DEFAULT


def parse_event_time(value: Any, tzid: str | None = None) -> EventTime | None:
    """Read a ``start`` or ``end``: a Date, a Time, or ``{"time", "tzid"}`` holding either.

    `tzid` is the zone that the caller wrote the event in: that of a value without its own, and of any whole
    day, which begins at midnight there. A day whose zone nobody names begins in the westernmost one. None
    stays None; anything unreadable raises MalformedTime.
    """
    if value is None:
        return None
    text, own = value, None
    if isinstance(value, dict):
        text, own = value.get("time"), value.get("tzid")
        if own is not None and not (isinstance(own, str) and own.isprintable()):
            raise MalformedTime("a tzid that is not text")
    if not isinstance(text, str) or len(text) > LONGEST_TIME:
        raise MalformedTime("a time that is not text")
    return parse_text(text, own, tzid, isinstance(value, dict))


def _parse_text(text: str, own: str | None, tzid: str | None, as_object: bool) -> EventTime:
    """The time `text`, with the zone `own` beside it if it came as an object."""
    wire = {"time": text, "tzid": own} if own is not None else {"time": text} if as_object else text
    text = text.strip()
    try:
        if len(text) == 10:
            named = next(
                (name for name in (tzid, own if names_zone(own) else None) if known_zone(name)), None
            )
            midnight = datetime.combine(date.fromisoformat(text), time(), known_zone(named) or WESTERNMOST)
            return EventTime(midnight.astimezone(UTC), all_day=True, tzid=named, wire=wire)
        moment = parse_instant(text, own or tzid)
    except (ValueError, OverflowError):
        raise MalformedTime("a time that cannot be read") from None
    # To show it in: the caller's rather than none.
    named = own if names_zone(own) else tzid or own
    return EventTime(moment, all_day=False, tzid=named, wire=wire)


def _parse_instant(text: str, tzid: str | None = None) -> datetime:
    """Read an ISO 8601 time, or Cronofy's ``2014-08-05 15:30:00Z``, as an aware UTC datetime.

    A time without an offset is in `tzid`; if that is unknown, in the westernmost zone, so that nothing counts
    as past too early. Raises ValueError or OverflowError.
    """
    moment = datetime.fromisoformat(text.replace(" UTC", "Z"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=(known_zone(tzid) or WESTERNMOST) if tzid else UTC)
    return moment.astimezone(UTC)


# Looks keep reading the same few times. (Mutation testing passes over functions with a decorator.)
parse_text = lru_cache(maxsize=4096)(_parse_text)
parse_instant = lru_cache(maxsize=4096)(_parse_instant)
