"""How records are packed for the ledger: lossless, unambiguous, and compact."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.builders import CALENDAR, DAY, HOUR, NOW, event_body, failing, seen, tracked
from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.model import Cause, Interaction
from worker.ledger.packing import (
    CAUSES,
    fingerprint,
    pack_event,
    pack_memo,
    pack_profile_names,
    unpack_account,
    unpack_event,
    unpack_memo,
)
from worker.ledger.records import Episode, EventKey, Memo, Obstacle, TrackedEvent, Write, from_ms, to_ms

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ids = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.text(":\n\0 5ä", min_size=1, max_size=12),
    st.sampled_from(["x" * 1024, "ä" * 512, "1:x", "\n"]),
)
moments = st.integers(1, to_ms(NOW) * 2)
numbers = st.one_of(
    st.integers(),
    st.sampled_from([2**64, -(2**70), 10**300]),
    st.floats(allow_nan=False, allow_infinity=False),
)
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(texts, plain, max_size=4)
diagnoses = st.sampled_from(Cause).map(
    lambda cause: {"state": "pending", "cause": cause.value, "evidence": ["It waits."], "detail": {}}
)
writes = st.builds(Write, at=moments, accepted=st.booleans(), refused=st.none() | texts.filter(bool))
events = st.builds(
    TrackedEvent,
    key=st.builds(EventKey, ids, ids),
    body=bodies,
    provider_name=st.none() | texts,
    tracked_at=moments,
    asked_at=moments,
    profile_id=st.none() | ids,
    next_look=st.none() | moments,
    seen=st.dictionaries(st.sampled_from(["start", "end", "summary", "event_uid"]), texts, max_size=4),
    interval=st.none() | st.floats(0.001, 10**6),
    failures=st.integers(0, 10**6),
    notice=st.none() | st.tuples(st.sampled_from([i.value for i in Interaction]), st.none() | texts, moments),
    writes=st.dictionaries(ids, writes, max_size=3),
    notified=st.lists(texts, max_size=3).map(tuple),
    last=st.none() | diagnoses,
    history=st.lists(st.tuples(moments, texts, texts), max_size=3).map(tuple),
)
episodes = st.builds(
    Episode,
    started_at=moments,
    mails=st.integers(0, 4),
    mail_ids=st.lists(texts, max_size=3).map(tuple),
    events=st.lists(st.tuples(ids, ids), max_size=3).map(tuple),
    obstacle=st.none() | st.sampled_from(Obstacle),
)


@given(events)
def test_events_round_trip(event: TrackedEvent) -> None:
    """A record with numbers of any size is read back unchanged."""
    value = pack_event(event)

    stored = unpack_event(value)

    assert stored.event == event
    assert json.dumps(stored.event.body) == json.dumps(event.body)
    assert stored.fingerprint == fingerprint(value[25:])
    assert pack_event(stored.event) == value


@given(st.dictionaries(ids, episodes, max_size=3), st.dictionaries(ids, texts, max_size=3))
def test_memos_round_trip(found: dict[str, Episode], providers: dict[str, str]) -> None:
    """What looks remember of an account is read back unchanged."""
    memo = Memo(found, providers)

    assert unpack_memo(pack_memo(memo)) == memo


@given(st.dictionaries(ids, texts, max_size=3))
def test_profile_names_round_trip(names: dict[str, str]) -> None:
    """The names of an account's profiles are read back unchanged, and its memo is as 0.1.0 knows it."""
    memo = Memo(providers={"pro_1": "zoom"})
    stored = {b"memo": pack_memo(memo), b"profile_names": pack_profile_names(names)}

    account = unpack_account("acc_1", stored)

    assert (account.profile_names, account.memo, account.unreadable) == (names, memo, ())
    assert len(msgpack.unpackb(stored[b"memo"])) == 3


@pytest.mark.parametrize(("stored", "unreadable"), [({}, ()), ({b"profile_names": b"?"}, ("profile_names",))])
def test_an_account_without_names(stored: dict[bytes, bytes], unreadable: tuple[str, ...]) -> None:
    """0.1.0 remembered none; damaged ones count as missing."""
    account = unpack_account("acc_1", stored)

    assert (account.profile_names, account.unreadable) == ({}, unreadable)


@given(st.builds(EventKey, ids, ids), st.builds(EventKey, ids, ids))
@example(EventKey("a:b", "c"), EventKey("a", "b:c"))
@example(EventKey("ab", "c"), EventKey("a", "bc"))
@example(EventKey("1:a", "b"), EventKey("1", ":ab"))
@example(EventKey("é", "x"), EventKey("e\u0301", "x"))
@example(EventKey("a", "b\n"), EventKey("a", "b"))
def test_distinct_keys_have_distinct_fields(one: EventKey, other: EventKey) -> None:
    """Two events never share a field of the hash: ids are not split, not trimmed, not normalised."""
    assert (one.field == other.field) is (one == other)


@pytest.mark.parametrize("cause", CAUSES)
def test_header(cause: Cause | None) -> None:
    """The scripts read next look, start, tracking time and the cause's number from the first 25 bytes."""
    last = {"cause": cause.value} if cause else None
    value = pack_event(tracked(next_look=to_ms(NOW), start=NOW + DAY, last=last))

    expected = (to_ms(NOW), to_ms(NOW + DAY), unpack_event(value).event.tracked_at, CAUSES.index(cause))
    assert struct.unpack_from(">dddB", value) == expected


def test_header_without_times() -> None:
    """An event without a start or a next look sorts after all others."""
    value = pack_event(tracked(next_look=None, body={"event_id": "booking-1", "start": "soon"}))

    next_look, start, *_ = struct.unpack_from(">dddB", value)
    assert next_look == start
    assert start > to_ms(NOW.replace(year=9999))


def test_causes_are_numbered_from_one() -> None:
    """Each has its own number, without gaps."""
    assert CAUSES[0] is None
    assert [TABLE[cause].number for cause in CAUSES[1:] if cause] == list(range(1, len(Cause) + 1))


def test_words_of_a_newer_version_damage_no_record() -> None:
    """A cause that is not known here is unexplained, and a notice says nothing."""
    last = {"state": "pending", "cause": "struck", "remedy": "wait", "evidence": [], "detail": {}}
    newer = tracked(notice=("conferencing_struck", None, to_ms(NOW)), last=last)

    read = unpack_event(pack_event(newer)).event

    assert (read.cause, read.last) == (Cause.UNEXPLAINED, last)
    assert read.request.notice is None


def test_size_of_a_tracked_event() -> None:
    """A record from `track` is only slightly larger than its body."""
    body = {**event_body("evt_0123456789abcdef"), "description": "x" * 200}
    size = len(json.dumps(body, separators=(",", ":")))
    event = replace(tracked(body=body), key=EventKey("cal_" + "x" * 30, "evt_0123456789abcdef"))

    assert len(pack_event(event)) < size + 160


def test_what_was_seen_counts() -> None:
    """Start, end and summary are the last ones read, otherwise the caller's."""
    event = tracked(start=NOW + DAY)
    moved = event.saw(seen(summary="Moved"), NOW)
    unread = moved.saw(replace(seen(), start=None, end=None, summary=None), NOW)

    shown = [(record.start and record.start.instant, record.summary) for record in (event, moved, unread)]
    assert shown == [(NOW + DAY, "Interview booking-1"), *[(NOW + 10 * DAY, "Moved")] * 2]


@pytest.mark.parametrize(
    ("body", "tzid"),
    [
        pytest.param({"tzid": "Europe/Paris"}, "Europe/Paris", id="of the body"),
        pytest.param(
            {"start": {"time": "2026-12-02", "tzid": "Asia/Tokyo"}}, "Asia/Tokyo", id="of the start"
        ),
        pytest.param({"tzid": "Europe/Paris", "start": {"tzid": "Asia/Tokyo"}}, "Asia/Tokyo", id="of both"),
        pytest.param({"start": "2026-12-02"}, None, id="none"),
        pytest.param({"tzid": 5}, None, id="no text"),
    ],
)
def test_zone_of_a_record(body: dict[str, Any], tzid: str | None) -> None:
    """Times without a zone use the caller's zone for the event."""
    assert tracked(body=body).tzid == tzid


def test_waiting_counts_from_created() -> None:
    """An event created after it was tracked waits from its creation; only its first read counts."""
    event = tracked()
    late = event.saw(seen(created=NOW + HOUR), NOW + DAY)
    early = event.saw(seen(created=NOW - 30 * DAY), NOW)

    assert late.asked_at == to_ms(NOW + HOUR)
    assert early.asked_at == event.asked_at
    assert early.saw(seen(created=NOW + DAY), NOW).asked_at == event.asked_at


def test_waiting_never_counts_from_the_future() -> None:
    """An event that says it was created in the year 9999 is overdue as soon as any other."""
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert tracked().saw(seen(created=never), NOW + HOUR).asked_at == to_ms(NOW + HOUR)


def test_the_same_word_keeps_its_first_time() -> None:
    """A notification that repeats the last one keeps its first time."""
    event = tracked().noticed("conferencing_failing", None, 1)

    assert event.noticed("conferencing_failing", None, 2) is event
    other = event.noticed("conferencing_failing", "profile_missing", 2)
    assert other.notice == ("conferencing_failing", "profile_missing", 2)


def test_request_of_a_record() -> None:
    """The diagnosis gets what the record has; only answered writes count as written."""
    writes = {"a": Write(1), "b": Write(1, accepted=True), "c": Write(1, refused="No.")}
    notice = failing("profile_missing")
    event = tracked(writes=writes, notice=(notice.interaction.value, notice.subtype, to_ms(notice.at)))

    asked = event.request

    assert (asked.profile_id, asked.provider_name, asked.calendar_id) == ("pro_a", "zoom", CALENDAR)
    assert asked.asked_at == from_ms(event.asked_at)
    assert asked.wrote == {"b", "c"}
    assert asked.notice == notice


def test_failed_looks() -> None:
    """A failed look is counted and moves the next look, without a conclusion."""
    event = tracked(last={"cause": "generating"}, interval=60.0)

    failed = event.failed("No answer.", NOW, NOW + DAY)

    assert failed == replace(
        event, failures=1, next_look=to_ms(NOW + DAY), history=((to_ms(NOW), "look_failed", "No answer."),)
    )
