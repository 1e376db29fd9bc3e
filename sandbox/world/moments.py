"""Times and dates as Cronofy reads and writes them (§2 and §4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.personality import Personality

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def zone(tzid: object) -> ZoneInfo:
    """Return the IANA zone with that name, or raise ValueError."""
    if not isinstance(tzid, str) or not tzid:
        raise ValueError("TZID not recognized")
    try:
        return ZoneInfo(tzid)
    except (OSError, LookupError, ValueError) as error:
        raise ValueError("TZID not recognized") from error


def utc_text(moment: datetime) -> str:
    """Return the instant as Cronofy writes it: UTC, whole seconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Moment:
    """The start or end of an event: a time, or a date for all-day events, with the event's zone."""

    value: datetime | date
    tzid: str

    @classmethod
    def parse(cls, value: object, tzid: str) -> Moment:
        """Read a Time string, a Date string or `{time, tzid}`; `tzid` holds where none is given (§4).

        Lenient about a space instead of `T`, which the C# SDK sends. Raises ValueError.
        """
        if isinstance(value, dict):
            return cls.parse(value.get("time"), value.get("tzid") or tzid)
        home = zone(tzid)
        value = str(value)
        if DATE.fullmatch(value):
            return cls(date.fromisoformat(value), tzid)
        parsed = datetime.fromisoformat(value)
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=home)
        return cls(aware.astimezone(UTC), tzid)

    def instant(self, tzid: str | None = None) -> datetime:
        """Return the time in UTC; a date begins at midnight in `tzid`, by default the event's own zone."""
        if isinstance(self.value, datetime):
            return self.value
        return datetime.combine(self.value, time(), zone(tzid or self.tzid)).astimezone(UTC)

    def later(self, length: timedelta) -> Moment:
        """Return the moment that comes `length` after this one; for dates, in whole days."""
        if isinstance(self.value, datetime):
            return replace(self, value=self.value + length)
        return replace(self, value=self.value + timedelta(days=round(length / timedelta(days=1))))

    def text(self) -> str:
        """Return it as a read shows it: a date, or a time in UTC."""
        return utc_text(self.value) if isinstance(self.value, datetime) else self.value.isoformat()

    def localized(self, personality: Personality) -> str | dict[str, Any]:
        """Return it as a read with `localized_times` shows it: `{time, tzid}`, at best (§2)."""
        if not isinstance(self.value, datetime):
            wrapped = {"time": self.text(), "tzid": self.tzid}
            return wrapped if personality.all_day == "wrapped" else self.text()
        if personality.localized_times == "utc":
            return {"time": self.text(), "tzid": "Etc/UTC"}
        local = self.value.astimezone(zone(self.tzid)).isoformat(timespec="seconds")
        return {"time": local.replace("+00:00", "Z"), "tzid": self.tzid}
