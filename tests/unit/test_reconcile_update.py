"""The body of an Update Event: complete, and changing no more than necessary (reference §4)."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import NOW, labelled, tracked
from worker.cronofy.wire import read_sighting
from worker.diagnosis.model import Seen
from worker.diagnosis.times import parse_event_time
from worker.reconcile.update import IncompleteRecord, update_body, why_not_written

NEW = "pro_new"
PARIS = "Europe/Paris"
BODY: dict[str, Any] = {
    "event_id": "booking-1",
    "summary": "Interview",
    "description": "Join: {{ cronofy.conferencing.join_url }}",
    "start": "2026-12-11T10:00:00Z",
    "end": "2026-12-11T11:00:00Z",
    "conferencing": {"profile_id": "pro_a"},
}


def read(
    start: Any = None, end: Any = None, summary: str | None = None, tzid: str | None = None, **fields: Any
) -> Seen:
    """What a read showed; by default, neither times nor a summary."""
    times = (parse_event_time(start, tzid), parse_event_time(end, tzid))
    return Seen(*times, summary, fields=fields)


def written(body: dict[str, Any], seen: Seen) -> dict[str, Any]:
    """The body sent for the caller's `body` after a read."""
    return update_body(tracked("booking-1", body=body), seen, NEW)


AS_WRITTEN = (BODY["start"], BODY["end"], BODY["summary"])
MOVED = ("2026-12-12T09:00:00Z", "2026-12-12T09:30:00Z", "Interview, moved")
BARE = {"event_id": "booking-1", "conferencing": {"profile_id": "pro_a"}}


@pytest.mark.parametrize(
    ("body", "shown", "sent"),
    labelled(
        ("nothing changed", BODY, AS_WRITTEN, AS_WRITTEN),
        ("moved by a person", BODY, MOVED, MOVED),
        ("emptied by a person", BODY, (None, None, ""), (*AS_WRITTEN[:2], "")),
        ("the record fills in", BODY, (None, None, None), AS_WRITTEN),
        ("the read fills in", BARE, AS_WRITTEN, AS_WRITTEN),
    ),
)
def test_a_persons_changes_are_kept(body: dict[str, Any], shown: Any, sent: Any) -> None:
    """Start, end and summary are sent as read, else as written; all but the profile stays the caller's."""
    block = {"start": sent[0], "end": sent[1], "summary": sent[2], "conferencing": {"profile_id": NEW}}

    assert written(body, read(*shown)) == {**body, **block}


@pytest.mark.parametrize("name", ["start", "end", "summary"])
def test_what_could_not_be_read_is_not_written_over(name: str) -> None:
    """A person may have changed it, so the event is not written at all."""
    with pytest.raises(IncompleteRecord, match=f"cannot be read as {name}"):
        written(BODY, replace(read(*AS_WRITTEN), unreadable=(name,)))


OURS = "https://hooks.example.com/webhooks/cronofy/key"
BOTH = [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}]
SUBSCRIPTION = {"type": "webhook", "uri": OURS, "interactions": BOTH}
THEIRS = {"type": "webhook", "uri": "https://app.example.com", "interactions": BOTH[1:]}


@pytest.mark.parametrize(
    ("recorded", "sent"),
    labelled(
        ("none", {}, [SUBSCRIPTION]),
        ("the caller's", {"subscriptions": [THEIRS]}, [THEIRS, SUBSCRIPTION]),
        ("an empty list", {"subscriptions": []}, [SUBSCRIPTION]),
        ("null", {"subscriptions": None}, [SUBSCRIPTION]),
        ("ours already", {"subscriptions": [SUBSCRIPTION, THEIRS]}, [THEIRS, SUBSCRIPTION]),
        ("ours for less", {"subscriptions": [{**SUBSCRIPTION, "interactions": []}]}, [SUBSCRIPTION]),
    ),
)
def test_our_subscription_is_beside_the_callers(recorded: dict[str, Any], sent: list[dict[str, Any]]) -> None:
    """If we have a callback address, once, keeping all of the caller's."""
    body = BODY | recorded

    update = update_body(tracked("booking-1", body=body), read(), NEW, OURS)

    assert update["subscriptions"] == sent
    assert written(body, read()).get("subscriptions") == recorded.get("subscriptions")


@pytest.mark.parametrize(
    ("name", "value"),
    labelled(
        ("subscriptions", "subscriptions", [{"type": "webhook", "uri": "https://a.example/hook"}]),
        ("no subscriptions", "subscriptions", []),
        ("a point on the map", "location", {"lat": "1.0", "long": "2.0"}),
        ("reminders", "reminders", [{"minutes": 30}]),
        ("reminders only at first", "reminders_create_only", True),
        ("transparency", "transparency", "opaque"),
        ("tzid", "tzid", PARIS),
        ("private", "event_private", False),
        ("no recurrence", "recurrence", None),
        ("unknown", "a_field_to_come", {"any": [1, 2.5, None]}),
    ),
)
def test_what_no_read_shows_is_the_callers(name: str, value: Any) -> None:
    """It is sent as the caller wrote it, since omitting it may clear it."""
    sent = written({**BODY, name: value}, read(*AS_WRITTEN))

    assert sent == {**BODY, name: value, "conferencing": {"profile_id": NEW}}


ROOM, POINT, LINK = {"description": "Room 1"}, {"lat": "1.0", "long": "2.0"}, "https://a.example/1"
ROOM_5 = {"description": "Room 5"}
THERE, ROOM_5_THERE, LINKED = {**ROOM, **POINT}, {**ROOM_5, "lat": "3.0"}, {"description": LINK}
GONE = ...


@pytest.mark.parametrize(
    ("name", "wrote", "shown", "sent"),
    labelled(
        ("description", "description", "Old", "New", "New"),
        ("description, added", "description", GONE, "New", "New"),
        ("description, emptied", "description", "Old", "", ""),
        ("description, removed", "description", "Old", GONE, GONE),
        ("no description", "description", GONE, "", GONE),
        ("location", "location", ROOM, ROOM_5, ROOM_5),
        ("location, the same", "location", THERE, ROOM, THERE),
        ("location, added", "location", GONE, ROOM, ROOM),
        ("location, removed", "location", ROOM, GONE, GONE),
        ("location, removed by the caller", "location", None, ROOM, ROOM),
        ("location with its point", "location", THERE, ROOM_5_THERE, ROOM_5_THERE),
        ("a link as location, the same", "location", LINKED, LINKED, LINKED),
        ("transparency", "transparency", "opaque", "transparent", "transparent"),
        ("transparency, never written", "transparency", GONE, "opaque", "opaque"),
        ("transparency, not known", "transparency", "opaque", "unknown", "opaque"),
        ("out of office", "extended_transparency", "opaque", "out_of_office", "out_of_office"),
        ("out of office, never written", "extended_transparency", GONE, "out_of_office", "out_of_office"),
        ("made private", "event_private", False, True, True),
        ("made private, never written", "event_private", GONE, True, True),
        ("made public", "event_private", True, False, False),
        ("as public as ever", "event_private", GONE, False, GONE),
        ("color", "color", "red", "blue", "blue"),
        ("reminders", "reminders", [{"minutes": 30}], [{"minutes": 5}], [{"minutes": 5}]),
        ("categories", "categories", ["a"], ["b"], ["b"]),
        ("what the caller cannot write", "categories", GONE, ["b"], GONE),
        ("url, the same", "url", LINK, LINK, LINK),
        ("url, changed", "url", LINK, "https://a.example/2", GONE),
        ("url, removed", "url", LINK, GONE, GONE),
        ("url, removed by the caller", "url", None, LINK, GONE),
    ),
)
def test_a_stale_record_never_overwrites(name: str, wrote: Any, shown: Any, sent: Any) -> None:
    """What a read shows is sent as read. What it shows no more is left out, as is a link that Cronofy may
    have put there: it then stays as it is.
    """
    body = {**BODY, name: wrote}
    if wrote is GONE:
        del body[name]

    update = written(body, read(*AS_WRITTEN, **({} if shown is GONE else {name: shown})))

    expected = {**body, "conferencing": {"profile_id": NEW}, name: sent}
    assert {name: GONE, **update} == expected


TEMPLATE = "Hello!\nJoin: {{ cronofy.conferencing.join_url }}\n\nBye"


@pytest.mark.parametrize("name", ["description", "location"])
@pytest.mark.parametrize(
    ("wrote", "shown"),
    labelled(
        ("rendered", TEMPLATE, "Hello!\nJoin: details are to follow.\n\nBye"),
        ("rendered to nothing, with other line ends", TEMPLATE, "Hello!\r\nJoin: \r\n\r\nBye\r\n"),
        ("not rendered", TEMPLATE, TEMPLATE),
        ("not shown", TEMPLATE, None),
        ("nothing but a template", "{{ cronofy.conferencing.invite_block }}", "To follow"),
        ("two", "{{ a }} and {{ b }}", "x and y"),
    ),
)
def test_templates_stay_the_callers(name: str, wrote: str, shown: str | None) -> None:
    """A read shows them rendered: sent back so, the link would never be put in."""
    block: Any = {"description": wrote} if name == "location" else wrote
    seen: Any = {"description": shown} if name == "location" else shown

    update = written({**BODY, name: block}, read(**({} if shown is None else {name: seen})))

    assert update[name] == block


@pytest.mark.parametrize(
    ("name", "wrote", "shown", "why"),
    labelled(
        ("changed beside a template", "description", TEMPLATE, "Hello Sam!\nJoin: x\n\nBye", "another desc"),
        ("rewritten, of two", "description", "{{ a }} and {{ b }}", "x or y", "another description"),
        ("added after a template", "description", TEMPLATE, "Hello!\nJoin: x\n\nBye\nPS", "another desc"),
        ("a location beside a template", "location", {"description": "A {{ b }}"}, ROOM, "another location"),
        ("a location on the map", "location", THERE, ROOM_5, "where on the map"),
        ("a removed one on the map", "location", THERE, {}, "where on the map"),
        ("a link as location", "location", ROOM, {"description": LINK}, "with a link that is not"),
        ("a link as the first location", "location", GONE, {"description": LINK}, "with a link that is not"),
    ),
)
def test_what_cannot_be_told_apart_is_not_written(name: str, wrote: Any, shown: Any, why: str) -> None:
    """The record or the read may be right; the reason says what differs."""
    event = tracked("booking-1", body={**BODY} | ({} if wrote is GONE else {name: wrote}))
    seen = read(*AS_WRITTEN, **{name: shown})

    with pytest.raises(IncompleteRecord, match=why):
        update_body(event, seen, NEW)
    assert why in (why_not_written(event, seen) or "")


@pytest.mark.parametrize(
    ("body", "seen"),
    labelled(
        ("by its record", {**BODY, "recurrence": {"rules": [{"frequency": "daily"}]}}, read(*AS_WRITTEN)),
        ("by a read", BODY, replace(read(*AS_WRITTEN), series=True)),
    ),
)
def test_a_series_is_never_written(body: dict[str, Any], seen: Seen) -> None:
    """The update could move its other occurrences to one of them."""
    why = why_not_written(tracked("booking-1", body=body), seen)

    assert why is not None
    assert why.startswith("The event is one of a series")
    assert why_not_written(tracked("booking-1", body=BODY), read(*AS_WRITTEN)) is None


def test_what_is_never_sent_again() -> None:
    """Attendees, which would be invited again, the old conferencing block, and another event's id."""
    changed = {"attendees": {"invite": [{"email": "sam@example.org"}], "remove": []}, "event_id": "booking-2"}
    body = {**BODY, **changed, "conferencing": {"profile_id": "explicit", "join_url": "https://a.example/j"}}

    assert written(body, read()) == {**BODY, "conferencing": {"profile_id": NEW}}


IN_PARIS = {"time": "2026-12-11T11:00:00+01:00", "tzid": PARIS}
LOCAL = {"time": "2026-12-11T11:00:00", "tzid": PARIS}
AS_UTC, IN_UTC = "2026-12-11T10:00:00Z", {"time": "2026-12-11T10:00:00Z", "tzid": "Etc/UTC"}
NEXT_DAY, WHOLE, NEXT_WHOLE = "2026-12-12T09:00:00Z", "2026-12-11", "2026-12-12"
IN_TOKYO = {"time": "2026-12-12T18:00:00+09:00", "tzid": "Asia/Tokyo"}
ON_WINDOWS = {"time": "2026-12-12T18:00:00+09:00", "tzid": "Tokyo Standard Time"}


def whole(day: str, tzid: str) -> dict[str, str]:
    """A day as an object."""
    return {"time": day, "tzid": tzid}


@pytest.mark.parametrize(
    ("wrote", "tzid", "shown", "sent"),
    labelled(
        ("the same, in UTC", IN_PARIS, None, AS_UTC, IN_PARIS),
        ("the same, in an object of UTC", LOCAL, None, IN_UTC, LOCAL),
        ("the same, in another zone", LOCAL, None, {**IN_UTC, "tzid": "Asia/Tokyo"}, LOCAL),
        ("the same, by the event's zone", "2026-12-11T11:00:00", PARIS, IN_UTC, "2026-12-11T11:00:00"),
        ("the same day", WHOLE, "America/New_York", whole(WHOLE, "Etc/UTC"), WHOLE),
        ("the same day, in its zone", whole(WHOLE, PARIS), None, WHOLE, whole(WHOLE, PARIS)),
        ("the same day, in no zone", WHOLE, None, whole(WHOLE, "Etc/UTC"), WHOLE),
        ("moved, in the caller's zone", IN_PARIS, None, NEXT_DAY, whole(NEXT_DAY, PARIS)),
        ("moved, read in UTC", IN_PARIS, None, whole(NEXT_DAY, "Etc/UTC"), whole(NEXT_DAY, PARIS)),
        ("moved, by the event's zone", AS_UTC, PARIS, whole(NEXT_DAY, "UTC"), whole(NEXT_DAY, PARIS)),
        (
            "moved, in UTC without an offset",
            LOCAL,
            None,
            whole("2026-12-12T09:00:00", "Etc/UTC"),
            whole(NEXT_DAY, PARIS),
        ),
        ("the read's zone counts", IN_PARIS, None, IN_TOKYO, IN_TOKYO),
        ("the read's zone by Windows' name", IN_PARIS, None, ON_WINDOWS, IN_TOKYO),
        ("no zone anywhere", AS_UTC, None, NEXT_DAY, NEXT_DAY),
        ("UTC alone", AS_UTC, None, whole(NEXT_DAY, "Etc/UTC"), whole(NEXT_DAY, "Etc/UTC")),
        ("an object of no zone", {"time": AS_UTC}, None, NEXT_DAY, NEXT_DAY),
        ("a moved day", WHOLE, None, NEXT_WHOLE, NEXT_WHOLE),
        ("a moved day needs no zone", whole(WHOLE, PARIS), None, NEXT_WHOLE, NEXT_WHOLE),
        ("a moved day of UTC", whole(WHOLE, PARIS), None, whole(NEXT_WHOLE, "UTC"), whole(NEXT_WHOLE, PARIS)),
        ("made all-day", IN_PARIS, None, WHOLE, WHOLE),
        ("made timed", WHOLE, None, IN_TOKYO, IN_TOKYO),
        ("the second 2:30", whole("2026-10-25T02:30:00", PARIS), None, "2026-10-25T01:30:00Z", ...),
    ),
)
def test_zones(wrote: Any, tzid: str | None, shown: Any, sent: Any) -> None:
    """The same time goes back in the caller's own words; another one as read, in the caller's zone if the
    read names none, as UTC does not.
    """
    event = tracked("booking-1", body={**BODY, "start": wrote, "end": wrote, "tzid": tzid})

    result = update_body(event, read(shown, shown, tzid=event.tzid), NEW)

    sent = whole(shown, PARIS) if sent is ... else sent
    assert (result["start"], result["end"]) == (sent, sent)


@pytest.mark.parametrize("name", ["summary", "start", "end"])
@pytest.mark.parametrize("value", [pytest.param(None, id="null"), pytest.param(..., id="absent")])
def test_incomplete(name: str, value: Any) -> None:
    """An event that can only be written in part is not written; the reason names what is missing."""
    body = {key: content for key, content in BODY.items() if key != name}
    if value is not ...:
        body[name] = value

    with pytest.raises(IncompleteRecord, match=rf"has no {name}, and no read showed one\."):
        written(body, read())


def test_the_callers_body_is_not_touched() -> None:
    """The record keeps what the caller wrote, whatever happens to the body sent."""
    body = {**BODY, "attendees": {"invite": []}, "start": {"time": "2026-12-11T11:00:00", "tzid": PARIS}}
    before = deepcopy(body)

    sent = written(body, read("2026-12-12T09:00:00Z", "2026-12-12T10:00:00Z", "Moved"))
    sent["conferencing"]["profile_id"] = "changed"
    sent["start"]["tzid"] = "changed"

    assert body == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("description", "location", "url", "transparency", "extended_transparency", "event_private")
written_fields = st.dictionaries(
    st.sampled_from([*FIELDS, "color", "reminders", "categories", "locale", "summary", "end", "tzid"]),
    JSON | st.sampled_from([TEMPLATE, ROOM, THERE, LINKED, LINK, "unknown", PARIS, "2026-12-11"]),
    max_size=4,
)


@given(written_fields, written_fields)
def test_whatever_a_read_shows_is_written_as_json_or_not_at_all(
    wrote: dict[str, Any], shown: dict[str, Any]
) -> None:
    """Either there is a sentence that says why not, or a body that can be sent."""
    body = json.loads(json.dumps({**BODY, **wrote, "end": BODY["end"]}))
    pending = {"calendar_id": "cal", "event_id": "booking-1", "conferencing": {"pending": True}}
    event = tracked("booking-1", body=body)
    seen = read_sighting([{**pending, "start": BODY["start"], **shown}], event.tzid, NOW)

    why = why_not_written(event, seen)

    if why is None:
        sent = update_body(event, seen, NEW)
        json.dumps(
            {name: sent[name] for name in sent.keys() & seen.fields.keys()}, ensure_ascii=False
        ).encode()
        assert all(sent[name] is not None for name in ("summary", "start", "end"))
    else:
        assert why.endswith(".")


def test_an_adopted_event_is_not_written() -> None:
    """However little there is to lose: nobody gave the body that it was written with."""
    with pytest.raises(IncompleteRecord, match="nobody tracked the body"):
        update_body(tracked(body={}), read(*AS_WRITTEN), NEW)
