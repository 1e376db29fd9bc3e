"""Times as Cronofy writes them: instants, local times and whole days."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.diagnosis.times import EventTime, MalformedTime, parse_event_time, parse_instant, zone

PARIS = "Europe/Paris"


def utc(*parts: int) -> datetime:
    """A moment in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def sent_back(value: Any) -> Any:
    """A value as an update sends it: of an object, only time and zone."""
    if not isinstance(value, dict):
        return value
    return {name: value[name] for name in ("time", "tzid") if value.get(name) is not None}


@pytest.mark.parametrize(
    ("value", "tzid", "instant", "all_day", "own_tzid"),
    [
        pytest.param("2026-11-09T10:00:00Z", None, utc(2026, 11, 9, 10), False, None, id="Z"),
        pytest.param("2026-11-09T10:00:00Z", PARIS, utc(2026, 11, 9, 10), False, PARIS, id="Z, and a zone"),
        pytest.param("2026-11-09T10:00:00+05:30", None, utc(2026, 11, 9, 4, 30), False, None, id="offset"),
        pytest.param(
            "2026-11-09T10:00:00-0800", None, utc(2026, 11, 9, 18), False, None, id="offset, no colon"
        ),
        pytest.param("2014-08-05 15:30:00Z", None, utc(2014, 8, 5, 15, 30), False, None, id="blank and Z"),
        pytest.param("2014-08-05 15:30:00 UTC", PARIS, utc(2014, 8, 5, 15, 30), False, PARIS, id="UTC"),
        pytest.param("2026-11-09T10:00Z", None, utc(2026, 11, 9, 10), False, None, id="no seconds"),
        pytest.param(
            "2026-11-09T10:00:00.123456789Z",
            None,
            utc(2026, 11, 9, 10, 0, 0, 123456),
            False,
            None,
            id="fraction",
        ),
        pytest.param(" 2026-11-09T10:00:00Z ", None, utc(2026, 11, 9, 10), False, None, id="blanks around"),
        pytest.param("2026-11-09T10:00:00", None, utc(2026, 11, 9, 10), False, None, id="zoneless is UTC"),
        pytest.param("2026-11-09T10:00:00", PARIS, utc(2026, 11, 9, 9), False, PARIS, id="in the given zone"),
        pytest.param("2026-11-09", None, utc(2026, 11, 9), True, None, id="day"),
        pytest.param(
            "2026-11-09", "Pacific/Auckland", utc(2026, 11, 8, 11), True, "Pacific/Auckland", id="day east"
        ),
        pytest.param(
            "2026-11-09",
            "America/Los_Angeles",
            utc(2026, 11, 9, 8),
            True,
            "America/Los_Angeles",
            id="day west",
        ),
        pytest.param(
            {"time": "2026-11-09T10:00:00+01:00", "tzid": PARIS},
            "Asia/Tokyo",
            utc(2026, 11, 9, 9),
            False,
            PARIS,
            id="object, its own zone counts",
        ),
        pytest.param(
            {"time": "2026-11-09 10:00:00", "tzid": PARIS},
            None,
            utc(2026, 11, 9, 9),
            False,
            PARIS,
            id="object, local",
        ),
        pytest.param(
            {"time": "2026-11-09", "tzid": PARIS},
            None,
            utc(2026, 11, 8, 23),
            True,
            PARIS,
            id="object with a day",
        ),
        pytest.param(
            {"time": "2026-11-09T10:00:00"},
            PARIS,
            utc(2026, 11, 9, 9),
            False,
            PARIS,
            id="object without tzid",
        ),
        pytest.param(
            {"time": "2026-11-09T10:00:00", "tzid": None},
            None,
            utc(2026, 11, 9, 10),
            False,
            None,
            id="tzid null",
        ),
        pytest.param(
            {"time": "2026-11-09T10:00:00Z", "tzid": PARIS, "more": 1},
            None,
            utc(2026, 11, 9, 10),
            False,
            PARIS,
            id="object with more in it",
        ),
        pytest.param(
            "2026-03-29T01:59:59",
            PARIS,
            utc(2026, 3, 29, 0, 59, 59),
            False,
            PARIS,
            id="before the clocks go on",
        ),
        pytest.param(
            "2026-03-29T03:00:00", PARIS, utc(2026, 3, 29, 1), False, PARIS, id="after the clocks go on"
        ),
        pytest.param(
            "2026-03-29T02:30:00", PARIS, utc(2026, 3, 29, 1, 30), False, PARIS, id="a time that is left out"
        ),
        pytest.param(
            "2026-10-25T02:30:00", PARIS, utc(2026, 10, 25, 0, 30), False, PARIS, id="a time that comes twice"
        ),
        pytest.param(
            "2018-11-04",
            "America/Sao_Paulo",
            utc(2018, 11, 4, 3),
            True,
            "America/Sao_Paulo",
            id="no midnight",
        ),
        pytest.param(
            "2026-11-09T10:00:00",
            "Mars/Olympus",
            utc(2026, 11, 9, 10),
            False,
            "Mars/Olympus",
            id="unknown zone is UTC",
        ),
        pytest.param(
            "2026-11-09", "Mars/Olympus", utc(2026, 11, 9), True, "Mars/Olympus", id="day in an unknown zone"
        ),
    ],
)
def test_wire_forms(
    value: Any, tzid: str | None, instant: datetime, all_day: bool, own_tzid: str | None
) -> None:
    """Each documented form gives its moment in UTC, its zone, and the value as it came."""
    assert parse_event_time(value, tzid) == EventTime(instant, all_day, own_tzid, sent_back(value))


@pytest.mark.parametrize(
    ("value", "tzid", "local"),
    [
        pytest.param("2026-11-09T10:00:00Z", PARIS, "2026-11-09 11:00:00+01:00", id="in its zone"),
        pytest.param("2026-11-09T10:00:00+05:00", None, "2026-11-09 05:00:00+00:00", id="UTC without one"),
        pytest.param("2026-11-09T10:00:00Z", "Mars/Olympus", "2026-11-09 10:00:00+00:00", id="unknown zone"),
        pytest.param("2026-11-09", "Pacific/Auckland", "2026-11-09", id="day east"),
        pytest.param("2026-11-09", "America/Los_Angeles", "2026-11-09", id="day west"),
        pytest.param("2018-11-04", "America/Sao_Paulo", "2018-11-04", id="day without midnight"),
    ],
)
def test_local(value: str, tzid: str | None, local: str) -> None:
    """A person reads a moment in the event's zone, and a whole day as that day."""
    parsed = parse_event_time(value, tzid)

    assert parsed is not None
    assert str(parsed.local) == local
    assert isinstance(parsed.local, datetime) is not parsed.all_day


def test_nothing_stays_nothing() -> None:
    """A time that is not there is no error."""
    assert parse_event_time(None) is None
    assert parse_event_time(None, PARIS) is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("soon", id="word"),
        pytest.param("2026-13-09", id="month 13"),
        pytest.param("2026-02-30", id="30 February"),
        pytest.param("09/11/2026", id="another order"),
        pytest.param("2026-11-09T25:00:00Z", id="hour 25"),
        pytest.param("2026-11-09T10:00:00Zulu", id="trailing text"),
        pytest.param("2026-11-09T10:00:00+99:00", id="offset beyond a day"),
        pytest.param("0000-01-01", id="year 0"),
        pytest.param("10000-01-01", id="year 10000"),
        pytest.param("9999-12-31T23:59:59-05:00", id="beyond the last moment"),
        pytest.param("0001-01-01T00:00:00+05:00", id="before the first moment"),
        pytest.param("2" * 65, id="too long"),
        pytest.param("２０２６-11-09", id="full-width digits"),
        pytest.param("2026-11-0\x00", id="control character"),
        pytest.param("2026-11-09T10:00\ud800Z", id="lone surrogate"),
        pytest.param(1_793_000_000, id="number"),
        pytest.param(1.5, id="fraction"),
        pytest.param(True, id="boolean"),
        pytest.param([], id="list"),
        pytest.param({}, id="empty object"),
        pytest.param({"tzid": PARIS}, id="only a zone"),
        pytest.param({"time": None, "tzid": PARIS}, id="no time in it"),
        pytest.param({"time": {"time": "2026-11-09"}}, id="nested"),
        pytest.param({"time": "2026-11-09", "tzid": 1}, id="zone that is no text"),
        pytest.param({"time": "soon", "tzid": PARIS}, id="word in an object"),
    ],
)
def test_garbage(value: Any) -> None:
    """What is no time is MalformedTime, and its message does not repeat the value."""
    with pytest.raises(MalformedTime) as caught:
        parse_event_time(value, PARIS)

    assert str(value) in ("", "[]", "{}") or str(value) not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param({"time": "2026-11-09", "tzid": 1}, "a tzid that is not text", id="zone"),
        pytest.param(20261109, "a time that is not text", id="number"),
        pytest.param("2026-11-09".ljust(65), "a time that is not text", id="longer than any time"),
        pytest.param("soon", "a time that cannot be read", id="word"),
    ],
)
def test_why_it_is_no_time(value: Any, reason: str) -> None:
    """The message says in what way, for whoever sent it."""
    with pytest.raises(MalformedTime) as caught:
        parse_event_time(value)

    assert str(caught.value) == reason


def test_the_longest_time() -> None:
    """Blanks around a time do no harm, up to 64 characters in all."""
    parsed = parse_event_time("2026-11-09T10:00:00Z".ljust(64))

    assert parsed is not None
    assert parsed.instant == utc(2026, 11, 9, 10)


def test_first_day_east_of_greenwich() -> None:
    """A day whose midnight comes before the first moment that can be named is malformed too."""
    with pytest.raises(MalformedTime):
        parse_event_time("0001-01-01", "Pacific/Auckland")


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
def test_zones_that_are_none(tzid: str | None) -> None:
    """Whatever is no zone counts as UTC, which is Cronofy's own default."""
    assert (
        zone(tzid).utcoffset(datetime(2026, 7, 1, tzinfo=UTC)) == datetime(2026, 7, 1, tzinfo=UTC).utcoffset()
    )


@pytest.mark.parametrize("text", ["", "soon", "9999-12-31T23:59:59-05:00"])
def test_instants_that_are_none(text: str) -> None:
    """An instant that cannot be read raises one of the two errors that its callers expect."""
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
@settings(deadline=None, derandomize=True, max_examples=500)
def test_only_malformed_time(value: Any, tzid: str | None) -> None:
    """Whatever comes, there is a time in UTC that keeps the value, or MalformedTime, and nothing else."""
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
@settings(deadline=None, derandomize=True, max_examples=200)
def test_days_read_back(whole: date, tzid: str) -> None:
    """A whole day is read back as the same day in every zone."""
    parsed = parse_event_time({"time": whole.isoformat(), "tzid": tzid})

    assert parsed is not None
    assert parsed.local == whole
