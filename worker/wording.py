"""How names, times and amounts are shown to people.

Summaries, names and reasons come from others, so none may break out of its line: a newline would start
another header, and in a body could fake a sentence of ours.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from config.durations import parse_duration
from config.terminal import acts
from worker.diagnosis.times import known_zone, names_zone, parse_instant

#: Cronofy's names of providers, and what people call them.
_PROVIDERS = {
    "apple": "iCloud",
    "exchange": "Microsoft Exchange",
    "go_to": "GoTo",
    "google": "Google",
    "google_meet_api": "Google Meet",
    "live_connect": "Outlook.com",
    "ms_teams": "Microsoft Teams",
    "office365": "Microsoft 365",
    "zoom": "Zoom",
}

# Not strftime's names, which depend on the process's locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_UNKNOWN_TIME = "at an unknown time"


def line(text: str, limit: int = 500) -> str:
    """Return `text` as one line of at most `limit` characters, including "…" if it was cut.

    Runs of white space become one space. Control, bidi and other invisible format characters and lone
    surrogates are removed; the joiners that some scripts and emoji need stay.
    """
    if not text.isprintable():
        text = "".join(" " if c.isspace() else c for c in text if c.isspace() or not acts(c))
    cleaned = " ".join(text.split())
    if len(cleaned) <= limit:
        return cleaned
    return cleaned[: limit - 1].rstrip(" \u200c\u200d") + "…"


def header(text: str, limit: int) -> str:
    """Return `text` as one line for a header, without anything that looks like an RFC 2047 encoded word.

    An encoded word can contain a newline, and the standard library decodes it when writing the header.
    """
    return line(line(text, limit).replace("=?", "= ?"), limit)


def provider(name: str | None) -> str:
    """Return what people call Cronofy's provider `name`; an unknown name stays as it is."""
    return _PROVIDERS.get(name or "") or line(name or "", 60) or "conferencing"


def calendar(name: str | None) -> str:
    """Return what people call a calendar of Cronofy's provider `name`: `Google calendar`."""
    return f"{provider(name)} calendar" if line(name or "") else "calendar"


def instant(start: datetime | date, tzid: str | None) -> datetime:
    """Return when a meeting starts; an all-day one at midnight in its zone (contract §2, `event_in_past`)."""
    if isinstance(start, datetime):
        return start
    return datetime.combine(start, time.min, tzinfo=_zone(tzid)[0])


def when(start: datetime | date | None, tzid: str | None) -> str:
    """Return a start in the zone `tzid`, for people: `Tue 1 Dec 2026, 10:00 (Europe/Paris)`.

    If there is no zone, or this machine does not know it, it is in UTC.
    """
    if start is None:
        return _UNKNOWN_TIME
    if not isinstance(start, datetime):
        return f"{_day(start)} (all day)"
    zone, zone_name = _zone(tzid)
    try:
        local = start.astimezone(zone)
    except OverflowError:  # the last hours of year 9999, which some calendars use for "no date"
        return _UNKNOWN_TIME
    return f"{_day(local)}, {local:%H:%M} ({zone_name})"


def _day(day: date) -> str:
    return f"{_DAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year}"


def _zone(tzid: str | None) -> tuple[tzinfo, str]:
    known = known_zone(tzid) if names_zone(tzid) else None
    return (known, known.key) if known else (UTC, "UTC")


_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def spoken(span: timedelta | float) -> str:
    """A duration (or seconds) in its two largest units: 45 s, 3 min 20 s, 2 d 4 h; below a second, 0 s."""
    seconds = int(span.total_seconds() if isinstance(span, timedelta) else span)
    largest = next((n for n, (_, size) in enumerate(_UNITS) if seconds >= size), len(_UNITS) - 1)
    parts: list[str] = []
    for unit, size in _UNITS[largest : largest + 2]:
        count, seconds = divmod(seconds, size)
        if count or not parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts)


def second(moment: datetime) -> str:
    """A time to the second, in its own zone: 2026-11-25 08:56:11."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def utc(moment: datetime) -> str:
    """A time to the second, for readers anywhere: 2026-11-25 08:56:11 UTC."""
    return f"{second(moment.astimezone(UTC))} UTC"


def moment(text: str, now: datetime) -> datetime:
    """Read an ISO 8601 time, or a duration from now on; ValueError says how to write one."""
    with suppress(ValueError, OverflowError):
        return parse_instant(text)
    with suppress(ValueError, OverflowError):
        return now + parse_duration(text)
    raise ValueError("must be a time such as 2026-12-01T09:00:00Z, or a duration from now on such as P3D")


def amount(number: int, one: str, many: str = "") -> str:
    """A number and what it counts: 1 event, 2,000 events."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
