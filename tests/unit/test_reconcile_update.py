"""The body of an Update Event: complete, and changing no more than necessary (reference §4)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.builders import labelled, tracked
from worker.diagnosis.model import Seen
from worker.diagnosis.times import parse_event_time
from worker.reconcile.update import IncompleteRecord, update_body

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


def read(start: Any = None, end: Any = None, summary: str | None = None, tzid: str | None = None) -> Seen:
    """What a read showed; by default, neither times nor a summary."""
    return Seen(parse_event_time(start, tzid), parse_event_time(end, tzid), summary)


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
        ("location", "location", {"description": "Room 1", "lat": "1.0", "long": "2.0"}),
        ("reminders", "reminders", [{"minutes": 30}]),
        ("reminders only at first", "reminders_create_only", True),
        ("transparency", "transparency", "opaque"),
        ("url", "url", "https://a.example/1"),
        ("no url", "url", None),
        ("recurrence", "recurrence", {"rules": [{"frequency": "daily"}]}),
        ("tzid", "tzid", PARIS),
        ("private", "event_private", False),
        ("unknown", "a_field_to_come", {"any": [1, 2.5, None]}),
    ),
)
def test_other_fields_are_kept(name: str, value: Any) -> None:
    """Every other field is sent as the caller wrote it, since omitting one may clear it."""
    sent = written({**BODY, name: value}, read(BODY["start"], BODY["end"], BODY["summary"]))

    assert sent == {**BODY, name: value, "conferencing": {"profile_id": NEW}}


def test_what_is_never_sent_again() -> None:
    """Attendees, which would be invited again, the old conferencing block, and another event's id."""
    changed = {"attendees": {"invite": [{"email": "sam@example.org"}], "remove": []}, "event_id": "booking-2"}
    body = {**BODY, **changed, "conferencing": {"profile_id": "explicit", "join_url": "https://a.example/j"}}

    assert written(body, read()) == {**BODY, "conferencing": {"profile_id": NEW}}


IN_PARIS = {"time": "2026-12-11T11:00:00+01:00", "tzid": PARIS}
NEXT_DAY, WHOLE = "2026-12-12T09:00:00Z", "2026-12-12"
IN_TOKYO = {"time": "2026-12-12T18:00:00+09:00", "tzid": "Asia/Tokyo"}


@pytest.mark.parametrize(
    ("wrote", "shown", "sent"),
    labelled(
        ("the caller's zone", IN_PARIS, NEXT_DAY, {"time": NEXT_DAY, "tzid": PARIS}),
        ("the read's zone counts", IN_PARIS, IN_TOKYO, IN_TOKYO),
        ("no zone anywhere", "2026-12-11T10:00:00Z", NEXT_DAY, NEXT_DAY),
        ("an object of no zone", {"time": "2026-12-11T10:00:00Z"}, NEXT_DAY, NEXT_DAY),
        ("a day stays a day", "2026-12-11", WHOLE, WHOLE),
        ("a day needs no zone", {"time": "2026-12-11", "tzid": PARIS}, WHOLE, WHOLE),
        ("made all-day", IN_PARIS, WHOLE, WHOLE),
        ("made timed", "2026-12-11", IN_TOKYO, IN_TOKYO),
    ),
)
def test_zones(wrote: Any, shown: Any, sent: Any) -> None:
    """Times are sent as read, in the caller's zone if the read names none."""
    body = {**BODY, "start": wrote, "end": wrote}

    result = written(body, read(shown, shown, tzid=PARIS))

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
