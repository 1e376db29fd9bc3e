"""The body of an Update Event that sets another profile, and whether an event may be written at all.

Cronofy documents no partial update, so the body is the whole event. The caller's record may be older than the
event: the caller, or a person, may have changed it since. So each field that a read shows goes back as just
read, and the record has the rest: what no read shows, the zone, and templates, which a read shows rendered
(reference §4 and §9). Attendees are a delta and are not sent again. Where it cannot be told whose value is
newer, nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from worker.diagnosis.model import SUBSCRIBED, Seen
from worker.diagnosis.times import EventTime, known_zone, names_zone, parse_event_time
from worker.ledger.records import TrackedEvent

_TEMPLATE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
#: Sent as read although the caller wrote none: leaving one out may set it back (reference §4).
_ALSO_UNASKED = ("transparency", "event_private", "color", "reminders")
_NEWER = "so it was changed since it was tracked. Track every later write of an event."


class IncompleteRecord(ValueError):
    """The event cannot be written without loss, so it is not written at all."""


def why_not_written(event: TrackedEvent, seen: Seen) -> str | None:
    """Why the event may not be written as it was just `seen`, in a sentence; None if it may."""
    try:
        update_body(event, seen, "")
    except IncompleteRecord as error:
        return str(error)
    return None


def update_body(
    event: TrackedEvent, seen: Seen, profile_id: str, callback: str | None = None
) -> dict[str, Any]:
    """The whole event as it should stand, with `profile_id` as its conferencing profile.

    `seen` is what was just read; notifications about the conference go to `callback`. Raises IncompleteRecord
    if the event is one of a series, if a field that Cronofy requires is in neither the record nor the read,
    if record and read differ so that a value would be lost, or if the event would end before it starts.
    """
    if event.series or seen.series:
        raise IncompleteRecord(
            "The event is one of a series: a write could move or change its other occurrences, so it is not "
            "written. Write it with another profile yourself."
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
            body[name] = _in_zone(moment, body.get(name), event.tzid)
    for name in ("summary", "start", "end"):
        if body.get(name) is None:
            raise IncompleteRecord(f"The record of the event has no {name}, and no read showed one.")
    start, end = (parse_event_time(body[name], event.tzid) for name in ("start", "end"))
    if start is not None and end is not None and end.instant < start.instant:
        # The start was moved, and the read did not show the matching end.
        raise IncompleteRecord("The event as recorded and read would end before it starts.")
    _put(body, "description", _text("description", body.get("description"), seen.fields.get("description")))
    _put(body, "location", _location(body.get("location"), seen.fields.get("location")))
    # Cronofy may have put a link there itself, and leaves one as it is that is not sent.
    _put(body, "url", body.get("url") if body.get("url") == seen.fields.get("url") else None)
    for name, value in seen.fields.items():
        if name not in ("description", "location", "url"):
            _put(body, name, _plain(name, body.get(name), value, seen.fields))
    return body


def _put(body: dict[str, Any], name: str, value: Any) -> None:
    """Send the value; or nothing, which changes nothing that a read does not show."""
    if value is None:
        body.pop(name, None)
    else:
        body[name] = value


def _text(name: str, written: Any, shown: Any) -> str | None:
    """A text as it should stand; None if there is none."""
    if not isinstance(written, str) or not _TEMPLATE.search(written):
        return shown if shown or written else None
    if shown is None or _is_rendered(written, shown):
        return written
    raise IncompleteRecord(f"Cronofy shows another {name} than the record's template gives, {_NEWER}")


def _is_rendered(template: str, text: str) -> bool:
    """Whether a text may be what the template gives: all else is in it, in order."""
    text = " ".join(text.split())
    first, *others = [part.strip() for part in _TEMPLATE.split(" ".join(template.split()))]
    if not others:
        return text == first
    if not text.startswith(first) or not text.endswith(others[-1]):
        return False
    place = len(first)
    for part in others:
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


def _location(written: Any, shown: Any) -> Mapping[str, Any] | None:
    """The location as it should stand; None if there is none."""
    written = written if isinstance(written, Mapping) else {}
    shown = shown if isinstance(shown, Mapping) else {}
    given = written.get("description")
    text = _text("location", given, shown.get("description"))
    point = {name: shown[name] for name in ("lat", "long") if shown.get(name) is not None}
    if text == given:
        # Only a read that asks for it shows the point, and ours does not.
        return {**written, **point} or None
    if "://" in (text or ""):
        raise IncompleteRecord(
            "Cronofy shows a location with a link that is not in the record: a person's, or that of a former "
            "conference, which must not be written as if it were theirs."
        )
    if not point and (written.get("lat") is not None or written.get("long") is not None):
        raise IncompleteRecord(
            f"Cronofy shows another location than the record and not where on the map it is, {_NEWER}"
        )
    return {"description": text, **point} if text else None


def _plain(name: str, written: Any, shown: Any, fields: Mapping[str, Any]) -> Any:
    """Any other field: as read, if it was written or says more than its absence does."""
    if shown == "unknown":
        return written
    if written is None:
        if name == "extended_transparency":
            return shown if shown != fields.get("transparency") else None
        return (shown or None) if name in _ALSO_UNASKED else None
    return shown


def _subscribed(subscriptions: Any, callback: str) -> list[Any]:
    """The caller's subscriptions plus ours.

    An empty list removes all subscriptions (reference §4), so a list seems to replace the one before. If it
    only adds, the caller is at worst notified twice, which it must expect anyway.
    """
    given = subscriptions if isinstance(subscriptions, list) else []
    others = [each for each in given if not isinstance(each, Mapping) or each.get("uri") != callback]
    interactions = [{"type": interaction.value} for interaction in SUBSCRIBED]
    return [*others, {"type": "webhook", "uri": callback, "interactions": interactions}]


def _in_zone(moment: EventTime, written: Any, tzid: str | None) -> Any:
    """The time as read: in the caller's own words if it is the same, else in its zone if none was read."""
    before = parse_event_time(written, tzid)
    if before is not None and (before.instant, before.all_day) == (moment.instant, moment.all_day):
        return written
    shown, given = moment.wire, written.get("tzid") if isinstance(written, Mapping) else None
    if isinstance(shown, Mapping):
        # IANA's name, as Cronofy takes no other.
        own = known_zone(shown.get("tzid")) if names_zone(shown.get("tzid")) else None
        named = own.key if own else given or tzid
    elif moment.all_day:
        return shown
    else:
        own, named = None, given
    if not named:
        return shown
    time = shown["time"] if own or moment.all_day else moment.instant.isoformat().replace("+00:00", "Z")
    return {"time": time, "tzid": named}
