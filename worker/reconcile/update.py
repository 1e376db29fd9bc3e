"""The body of an Update Event that sets another profile: always the whole event.

Cronofy documents no partial update, so the body is the caller's own record. Summary, start and end, which
a person may have changed since, go back as just read. Attendees are a delta and are not sent again. The
description stays the caller's, since a read returns it rendered (reference §4).
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

    `seen` is what was just read; notifications about the conference go to `callback`. Raises
    IncompleteRecord if the event was adopted, if a field that Cronofy requires is in neither the record nor the read, if the read has
    it in a form that would be lost, or if the event would end before it starts.
    """
    if event.adopted:
        raise IncompleteRecord(
            "The event was adopted: nobody tracked the body that it was written with, and a read does not show "
            "all of it (templates, subscriptions, reminders), so it is not written. Track it with that body, or "
            "write it with another profile yourself."
        )
    if seen.unreadable:
        raise IncompleteRecord(
            f"Cronofy shows a value that cannot be read as {' and '.join(seen.unreadable)}."
        )
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
        # The start was moved, and the read did not show the matching end.
        raise IncompleteRecord("The event as recorded and read would end before it starts.")
    return body


def _subscribed(subscriptions: Any, callback: str) -> list[Any]:
    """The caller's subscriptions plus ours.

    An empty list removes all subscriptions (reference §4), so a list seems to replace the one before. If it
    only adds, the caller is at worst notified twice, which it must expect anyway.
    """
    given = subscriptions if isinstance(subscriptions, list) else []
    others = [each for each in given if not isinstance(each, Mapping) or each.get("uri") != callback]
    interactions = [{"type": interaction.value} for interaction in SUBSCRIBED]
    return [*others, {"type": "webhook", "uri": callback, "interactions": interactions}]


def _in_zone(moment: EventTime, written: Any) -> Any:
    """The time as read, in the caller's zone if the read names none."""
    zoneless = isinstance(moment.wire, str) and not moment.all_day
    if zoneless and isinstance(written, Mapping) and written.get("tzid"):
        return {"time": moment.wire, "tzid": written["tzid"]}
    return moment.wire
