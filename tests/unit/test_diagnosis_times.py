"""Times as Cronofy writes them: instants, local times and whole days."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.builders import labelled
from worker.diagnosis.times import (
    EventTime,
    MalformedTime,
    parse_event_time,
    parse_instant,
    parse_text,
    zone,
)

PARIS, AUCKLAND, SAO_PAULO = "Europe/Paris", "Pacific/Auckland", "America/Sao_Paulo"
LA, BERLIN = "America/Los_Angeles", "W. Europe Standard Time"


def utc(*parts: int) -> datetime:
    """A time in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def sent_back(value: Any) -> Any:
    """A value as an update sends it: only time and zone of an object."""
    if not isinstance(value, dict):
        return value
    return {name: value[name] for name in ("time", "tzid") if value.get(name) is not None}


def the_day(tzid: str) -> dict[str, str]:
    """A whole day as an object."""
    return {"time": "2026-11-09", "tzid": tzid}


NINE, TEN = utc(2026, 11, 9, 9), utc(2026, 11, 9, 10)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    """What an earlier test had parsed says nothing about this one."""
    parse_text.cache_clear()
    parse_instant.cache_clear()


@pytest.mark.parametrize(
    ("value", "tzid", "instant", "all_day", "own_tzid"),
    labelled(
        ("Z, and a zone", "2026-11-09T10:00:00Z", PARIS, TEN, False, PARIS),
        ("offset", "2026-11-09T10:00:00+05:30", None, utc(2026, 11, 9, 4, 30), False, None),
        ("offset, no colon", "2026-11-09T10:00:00-0800", None, utc(2026, 11, 9, 18), False, None),
        ("blank and Z", "2014-08-05 15:30:00Z", None, utc(2014, 8, 5, 15, 30), False, None),
        ("UTC", "2014-08-05 15:30:00 UTC", PARIS, utc(2014, 8, 5, 15, 30), False, PARIS),
        ("no seconds", "2026-11-09T10:00Z", None, TEN, False, None),
        ("nanoseconds", "2026-11-09T10:00:00.123456789Z", None, TEN.replace(microsecond=123456), False, None),
        ("blanks around", " 2026-11-09T10:00:00Z ", None, TEN, False, None),
        ("up to 64 characters", "2026-11-09T10:00:00Z".ljust(64), None, TEN, False, None),
        ("zoneless is UTC", "2026-11-09T10:00:00", None, TEN, False, None),
        ("in the given zone", "2026-11-09T10:00:00", PARIS, utc(2026, 11, 9, 9), False, PARIS),
        ("day", "2026-11-09", None, utc(2026, 11, 9, 12), True, None),
        ("day in UTC, by the caller", "2026-11-09", "Etc/UTC", utc(2026, 11, 9), True, "Etc/UTC"),
        (
            "day, read in UTC",
            {"time": "2026-11-09", "tzid": "Etc/UTC"},
            None,
            utc(2026, 11, 9, 12),
            True,
            None,
        ),
        (
            "day in a zone, read in UTC",
            {"time": "2026-11-09", "tzid": "UTC"},
            LA,
            utc(2026, 11, 9, 8),
            True,
            LA,
        ),
        (
            "day in the caller's zone",
            {"time": "2026-11-09", "tzid": PARIS},
            LA,
            utc(2026, 11, 9, 8),
            True,
            LA,
        ),
        (
            "day in no known zone",
            {"time": "2026-11-09", "tzid": "Mars"},
            "Venus",
            utc(2026, 11, 9, 12),
            True,
            None,
        ),
        (
            "day in one known zone",
            {"time": "2026-11-09", "tzid": PARIS},
            "?",
            utc(2026, 11, 8, 23),
            True,
            PARIS,
        ),
        ("day of 23 hours", "2026-03-08", LA, utc(2026, 3, 8, 8), True, LA),
        ("day after 23 hours", "2026-03-09", LA, utc(2026, 3, 9, 7), True, LA),
        ("day of 25 hours", "2026-11-01", LA, utc(2026, 11, 1, 7), True, LA),
        ("day after 25 hours", "2026-11-02", LA, utc(2026, 11, 2, 8), True, LA),
        ("day on Windows", "2026-11-09", BERLIN, utc(2026, 11, 8, 23), True, BERLIN),
        ("on Windows", {"time": "2026-11-09T10:00:00", "tzid": BERLIN}, None, NINE, False, BERLIN),
        ("read in UTC", {"time": "2026-11-09T10:00:00Z", "tzid": "Etc/UTC"}, PARIS, TEN, False, PARIS),
        ("in UTC, no offset", {"time": "2026-11-09T10:00:00", "tzid": "Etc/UTC"}, PARIS, TEN, False, PARIS),
        ("day east", "2026-11-09", AUCKLAND, utc(2026, 11, 8, 11), True, AUCKLAND),
        ("its own zone counts", {"time": "2026-11-09 10:00", "tzid": PARIS}, AUCKLAND, NINE, False, PARIS),
        ("object with a day", {"time": "2026-11-09", "tzid": PARIS}, None, utc(2026, 11, 8, 23), True, PARIS),
        ("no tzid", {"time": "2026-11-09T10:00:00"}, PARIS, NINE, False, PARIS),
        ("tzid null", {"time": "2026-11-09T10:00:00", "tzid": None}, None, TEN, False, None),
        ("more in it", {"time": "2026-11-09T10:00:00Z", "tzid": PARIS, "x": 1}, None, TEN, False, PARIS),
        ("left out in spring", "2026-03-29T02:30:00", PARIS, utc(2026, 3, 29, 1, 30), False, PARIS),
        ("twice in autumn", "2026-10-25T02:30:00", PARIS, utc(2026, 10, 25, 0, 30), False, PARIS),
        ("no midnight", "2018-11-04", SAO_PAULO, utc(2018, 11, 4, 3), True, SAO_PAULO),
        ("in an unknown zone", "2026-11-09T10:00:00", "Mars", utc(2026, 11, 9, 22), False, "Mars"),
        ("an offset needs no zone", "2026-11-09T10:00:00Z", "Mars", TEN, False, "Mars"),
    ),
)
def test_wire_forms(
    value: Any, tzid: str | None, instant: datetime, all_day: bool, own_tzid: str | None
) -> None:
    """Each documented form gives its time in UTC, its zone, and the original value.

    A whole day begins in the caller's zone, or else in the one that was read; if neither is one, where it
    begins last.
    """
    assert parse_event_time(value, tzid) == EventTime(instant, all_day, own_tzid, sent_back(value))


@pytest.mark.parametrize(
    ("value", "tzid", "local"),
    labelled(
        ("in its zone", "2026-11-09T10:00:00Z", PARIS, "2026-11-09 11:00:00+01:00"),
        ("UTC without one", "2026-11-09T10:00:00+05:00", None, "2026-11-09 05:00:00+00:00"),
        ("day east", "2026-11-09", AUCKLAND, "2026-11-09"),
        ("day without midnight", "2018-11-04", SAO_PAULO, "2018-11-04"),
    ),
)
def test_local(value: str, tzid: str | None, local: str) -> None:
    """A person reads a time in the event's zone, and a whole day as that day."""
    parsed = parse_event_time(value, tzid)

    assert parsed is not None
    assert str(parsed.local) == local
    assert isinstance(parsed.local, datetime) is not parsed.all_day


def test_none_stays_none() -> None:
    """A missing time is not an error."""
    assert parse_event_time(None) is None
    assert parse_event_time(None, PARIS) is None


WORD, NO_TEXT = "a time that cannot be read", "a time that is not text"


@pytest.mark.parametrize(
    ("value", "reason"),
    labelled(
        ("empty", "", WORD),
        ("word", "soon", WORD),
        ("30 February", "2026-02-30", WORD),
        ("another order", "09/11/2026", WORD),
        ("hour 25", "2026-11-09T25:00:00Z", WORD),
        ("trailing text", "2026-11-09T10:00:00Zulu", WORD),
        ("offset beyond a day", "2026-11-09T10:00:00+99:00", WORD),
        ("year 0", "0000-01-01", WORD),
        ("beyond the last moment", "9999-12-31T23:59:59-05:00", WORD),
        ("before the first moment", "0001-01-01T00:00:00+05:00", WORD),
        ("midnight before the first moment", {"time": "0001-01-01", "tzid": AUCKLAND}, WORD),
        ("full-width digits", "２０２６-11-09", WORD),
        ("control character", "2026-11-0\x00", WORD),
        ("lone surrogate", "2026-11-09T10:00\ud800Z", WORD),
        ("too long", "2026-11-09".ljust(65), NO_TEXT),
        ("number", 1_793_000_000, NO_TEXT),
        ("boolean", True, NO_TEXT),
        ("list", [], NO_TEXT),
        ("only a zone", {"tzid": PARIS}, NO_TEXT),
        ("nested", {"time": {"time": "2026-11-09"}}, NO_TEXT),
        ("zone that is not text", {"time": "2026-11-09", "tzid": 1}, "a tzid that is not text"),
        ("word in an object", {"time": "soon", "tzid": PARIS}, WORD),
    ),
)
def test_garbage(value: Any, reason: str) -> None:
    """The message says what is wrong without repeating the value."""
    with pytest.raises(MalformedTime) as caught:
        parse_event_time(value, PARIS)

    assert str(caught.value) == reason
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "tzid",
    [
        None,
        "",
        "UTC",
        "Mars/Olympus",
        "../../etc/passwd",
        "/etc/passwd",
        "Europe",
        "\0",
        "\ud800",
        "x" * 5000,
    ],
)
def test_invalid_zones(tzid: str | None) -> None:
    """An invalid zone counts as UTC, Cronofy's default."""
    assert zone(tzid).utcoffset(utc(2026, 7, 1)) == utc(2026, 7, 1).utcoffset()


@pytest.mark.parametrize("text", ["", "soon", "9999-12-31T23:59:59-05:00"])
def test_invalid_instants(text: str) -> None:
    """An unreadable instant raises one of the two errors its callers expect."""
    with pytest.raises((ValueError, OverflowError)):
        parse_instant(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["time", "tzid", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
near_times = st.one_of(
    st.text("0123456789-:+TZ .W", max_size=36),
    st.dates().map(str),
    st.datetimes(timezones=st.timezones()).map(str),
    st.datetimes().map(datetime.isoformat),
)
zones = st.one_of(st.none(), st.timezone_keys(), st.text(max_size=20))
values = st.one_of(
    json_values,
    near_times,
    st.fixed_dictionaries({"time": near_times, "tzid": st.one_of(zones, json_values)}),
)


@given(values, zones)
@example("9999-12-31", "America/Los_Angeles")
def test_only_malformed_time(value: Any, tzid: str | None) -> None:
    """Any input gives either a time in UTC that keeps the value, or MalformedTime."""
    try:
        parsed = parse_event_time(value, tzid)
    except MalformedTime:
        return

    if parsed is None:
        assert value is None
    else:
        assert parsed.instant.tzinfo is UTC
        assert parsed.wire == sent_back(value)
        json.dumps(parsed.wire).encode()


@given(st.dates(date(2012, 1, 1), date(2200, 1, 1)), st.timezone_keys())
def test_days_read_back(whole: date, tzid: str) -> None:
    """A whole day is read back as the same day in every zone."""
    parsed = parse_event_time({"time": whole.isoformat(), "tzid": tzid})

    assert parsed is not None
    assert parsed.local == whole
