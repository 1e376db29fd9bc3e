"""The body of an Update Event that sets another profile (design: written rarely, and whole).

Cronofy documents no partial update, so the body is the caller's own record. What a person may have
changed since, the summary, start and end, is sent back as just read; attendees are a delta and not
sent again; the description stays the caller's, since a read gives it rendered (reference §4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.diagnosis.model import SUBSCRIBED, Seen
from worker.diagnosis.times import EventTime, parse_event_time
from worker.ledger.records import TrackedEvent


class IncompleteRecord(ValueError):
    """The event cannot be written whole, so it is not written at all."""


def update_body(
    event: TrackedEvent, seen: Seen, profile_id: str, callback: str | None = None
) -> dict[str, Any]:
    """The whole event as it should stand, with `profile_id` as its conferencing profile.

    `seen` is the read just before; at the address `callback` we want to hear of the conference. Raises
    IncompleteRecord where neither the record nor the read has a field that Cronofy requires.
    """
    body = {name: value for name, value in event.body.items() if name != "attendees"}
    body["event_id"] = event.key.event_id
    body["conferencing"] = {"profile_id": profile_id}
    if callback is not None:
        body["subscriptions"] = _subscribed(body.get("subscriptions"), callback)
    if seen.summary is not None:
        body["summary"] = seen.summary
    for name, moment in (("start", seen.start), ("end", seen.end)):
        if moment is not None:
            body[name] = _in_zone(moment, body.get(name))
    for name in ("summary", "start", "end"):
        if body.get(name) is None:
            raise IncompleteRecord(f"The record of the event has no {name}, and no read showed one.")
    start, end = (parse_event_time(body[name], event.tzid) for name in ("start", "end"))
    if start is not None and end is not None and end.instant < start.instant:
        # Its start was moved, and the read did not show the end that belongs to it.
        raise IncompleteRecord("The event as recorded and read would end before it starts.")
    return body


def _subscribed(subscriptions: Any, callback: str) -> list[Any]:
    """The caller's subscriptions with ours beside them.

    An empty list removes what was subscribed (reference §4), so a list seems to take the place of the
    one before; were it only added, the caller would at worst hear twice, as it must expect anyway.
    """
    given = subscriptions if isinstance(subscriptions, list) else []
    others = [each for each in given if not isinstance(each, Mapping) or each.get("uri") != callback]
    interactions = [{"type": interaction.value} for interaction in SUBSCRIBED]
    return [*others, {"type": "webhook", "uri": callback, "interactions": interactions}]


def _in_zone(moment: EventTime, written: Any) -> Any:
    """The time as read, in the zone that the caller wrote it in where the read names none."""
    zoneless = isinstance(moment.wire, str) and not moment.all_day
    if zoneless and isinstance(written, Mapping) and written.get("tzid"):
        return {"time": moment.wire, "tzid": written["tzid"]}
    return moment.wire
