"""Events: what a write must contain, what it changes, and what a read shows (§2 to §4)."""

from __future__ import annotations

import copy
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.personality import Personality
from sandbox.world.accounts import Account, Calendar
from sandbox.world.errors import Errors, error, missing
from sandbox.world.moments import Moment, utc_text, zone
from sandbox.world.rules import rule_errors, starts

#: Optional fields that a write may have and a read returns unchanged.
OPTIONAL = (
    "description",
    "location",
    "url",
    "transparency",
    "extended_transparency",
    "event_private",
    "reminders",
    "color",
    "locale",
    "categories",
)
#: Fields that must be an object or a list if given.
SHAPES: dict[str, type] = {
    "location": dict,
    "attendees": dict,
    "conferencing": dict,
    "subscriptions": list,
    "recurrence": dict,
}
#: Values of `profile_id` that name no particular profile (§3).
WORDS = frozenset({"default", "integrated", "explicit", "none"})
PENDING: dict[str, Any] = {"pending": True}

_TEMPLATE = re.compile(r"\{\{\s*cronofy\.conferencing\.(join_url|invite_block)\s*\}\}")


@dataclass(slots=True)
class Event:
    """One calendar entry; `event_id` is None if a person created it."""

    sub: str
    calendar_id: str
    event_id: str | None
    summary: str
    start: Moment
    end: Moment
    created: datetime
    updated: datetime
    event_uid: str = ""
    #: Common to the occurrences of a series; empty for a single event.
    series_identifier: str = ""
    deleted: bool = False
    cancelled: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    attendees: list[dict[str, str]] = field(default_factory=list)
    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    #: The rule of a series, as it was written; None for a single event.
    rule: dict[str, Any] | None = None
    #: What a read shows, and the requested profile, which no read shows (§3).
    conferencing: dict[str, Any] | None = None
    profile_id: str | None = None
    #: Counts the requests for a conference; an attempt for an older request is void.
    generation: int = 0
    #: Failures that were notified for this request.
    notified: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.event_uid = ("evt_" if self.event_id else "evt_external_") + secrets.token_hex(12)

    @property
    def pending(self) -> bool:
        """Whether a conference was requested and has not come."""
        return self.conferencing == PENDING


def validate(body: dict[str, Any], account: Account, calendar: Calendar, personality: Personality) -> Errors:
    """Return what is wrong with a Create or Update Event body, by field; empty if nothing is (§4)."""
    errors: Errors = {
        name: error("errors.invalid", f"{name} must be of another type")
        for name, kind in SHAPES.items()
        if not isinstance(body.get(name) or kind(), kind)
    }
    if errors:
        return errors
    required = ("event_id", "summary", "start", "end")
    errors |= missing(*(name for name in required if body.get(name) in (None, "")))
    for name, longest in (("summary", 1024), ("description", 4096)):
        if len(str(body.get(name) or "")) > longest:
            errors[name] = error("errors.too_long", f"{name} must be at most {longest} characters")
    errors.update(_time_errors(body))
    errors.update(rule_errors(body.get("recurrence") or {}))
    errors.update(_conferencing_errors(body, account, calendar, personality))
    for n, attendee in enumerate((body.get("attendees") or {}).get("invite") or []):
        if not isinstance(attendee, dict) or "@" not in str(attendee.get("email")):
            errors[f"attendees.invite[{n}].email"] = error("errors.invalid_email", "email is not valid")
    for n, subscription in enumerate(body.get("subscriptions") or []):
        if not isinstance(subscription, dict) or subscription.get("type") != "webhook":
            errors[f"subscriptions[{n}].type"] = error("errors.not_recognized", "type not recognized")
    return errors


def _time_errors(body: dict[str, Any]) -> Errors:
    tzid = body.get("tzid") or "Etc/UTC"
    try:
        zone(tzid)
    except ValueError:
        return {"tzid": error("errors.tzid_unrecognized", "TZID not recognized")}
    moments = {}
    errors: Errors = {}
    for name in ("start", "end"):
        if body.get(name):
            try:
                moments[name] = Moment.parse(body[name], tzid)
            except ValueError as reason:
                errors[name] = error("errors.invalid", f"{name} is not valid: {reason}")
    if len(moments) == 2 and moments["end"].instant() <= moments["start"].instant():
        errors["end"] = error("errors.invalid_time_pair", "end must be after start")
    return errors


def _conferencing_errors(
    body: dict[str, Any], account: Account, calendar: Calendar, personality: Personality
) -> Errors:
    block = body.get("conferencing")
    if block is None:
        return {}
    profile_id = block.get("profile_id")
    if not profile_id:
        return missing("profile_id", within="conferencing.")
    if profile_id == "explicit":
        absent = [name for name in ("provider_description", "join_url") if not block.get(name)]
        return missing(*absent, within="conferencing.")
    has_none = profile_id == "integrated" and not calendar.integrated_conferencing_available
    if has_none and personality.integrated_unavailable == "refused":
        unavailable = error("errors.integrated_conferencing_not_available", "not available in this calendar")
        return {"conferencing.profile_id": unavailable}
    # A profile removed in the meantime shows only later: `profile_missing` is asynchronous (§3).
    known = profile_id in WORDS or profile_id in account.removed_profiles
    if not known and account.conferencing_profile(profile_id) is None:
        return {"conferencing.profile_id": error("errors.not_recognized", "profile_id not recognized")}
    return {}


def write(event: Event, body: dict[str, Any], personality: Personality) -> list[tuple[str, str]]:
    """Apply a valid body to the event, except its conferencing (§4).

    Returns what attendees are sent: ("invited" or "removed", email).
    """
    tzid = body.get("tzid") or "Etc/UTC"
    event.summary = str(body["summary"])
    event.start = Moment.parse(body["start"], tzid)
    event.end = Moment.parse(body["end"], tzid)
    kept = OPTIONAL if personality.omitted_fields == "kept" else ("url",)
    event.fields = {name: value for name, value in event.fields.items() if name in kept}
    event.fields.update({name: body[name] for name in OPTIONAL if name in body})
    rules = (body.get("recurrence") or {}).get("rules")
    if rules is not None:
        # Only an empty list ends a series; omitted, it goes on (§4).
        event.rule = next(iter(rules), None)
    if body.get("subscriptions") is not None:
        event.subscriptions = list(body["subscriptions"])
    sent = []
    # A delta: inviting someone again sends another invitation.
    delta = body.get("attendees") or {}
    for attendee in delta.get("invite") or []:
        _leave(event, attendee["email"])
        name = attendee.get("display_name") or ""
        event.attendees.append({"email": attendee["email"], "display_name": name, "status": "needs_action"})
        sent.append(("invited", attendee["email"]))
    # Ruby's and PHP's SDKs say `reject` (§4).
    for attendee in [*(delta.get("remove") or []), *(delta.get("reject") or [])]:
        _leave(event, attendee["email"])
        sent.append(("removed", attendee["email"]))
    return sent


def _leave(event: Event, email: str) -> None:
    event.attendees = [a for a in event.attendees if a["email"] != email]


def occurrences(event: Event, personality: Personality, until: datetime) -> list[Event]:
    """Return what a read shows of the event: itself, or each time that its series happens up to `until`."""
    if event.rule is None:
        return [event]
    shown = []
    length = event.end.instant() - event.start.instant()
    for start in starts(event.rule, event.start, until):
        each = copy.copy(event)
        each.start, each.end = start, start.later(length)
        each.series_identifier = event.event_uid
        mark = start.instant().strftime("%Y%m%dT%H%M%SZ")
        each.event_uid = f"{event.event_uid}_{mark}"
        if event.event_id is not None and personality.series == "own_ids":
            each.event_id = f"{event.event_id}_{mark}"
        shown.append(each)
    return shown


def render(
    event: Event, account: Account, personality: Personality, *, localized: bool = False, geo: bool = False
) -> dict[str, Any]:
    """Return the event as Read Events shows it (§2); templates are rendered (§9)."""
    fields = dict(event.fields)
    location = dict(fields.pop("location", None) or {})
    if not geo:
        location = {key: value for key, value in location.items() if key == "description"}
    if "description" in location:
        location["description"] = _rendered(location["description"], event)
    elif personality.location == "join_url" and (url := (event.conferencing or {}).get("join_url")):
        location["description"] = url
    managed = event.event_id is not None
    all_day = not isinstance(event.start.value, datetime)
    shown: dict[str, Any] = {
        "calendar_id": event.calendar_id,
        "event_uid": event.event_uid,
        "summary": event.summary,
        "start": event.start.localized(personality) if localized else event.start.text(),
        "end": event.end.localized(personality) if localized else event.end.text(),
        "deleted": event.deleted,
        "created": utc_text(event.created),
        "updated": utc_text(event.updated),
        "participation_status": "accepted",
        "attendees": event.attendees,
        "organizer": {"email": account.email, "display_name": account.name},
        "transparency": "transparent" if all_day else "opaque",
        "status": "cancelled" if event.cancelled else "confirmed",
        "categories": [],
        "recurring": event.rule is not None,
        "event_private": False,
        "options": {"delete": managed, "update": managed, "change_participation_status": not managed},
        **{key: value for key, value in fields.items() if value is not None},
        "description": _rendered(fields.get("description") or "", event),
    }
    if managed:
        shown["event_id"] = event.event_id
    if event.series_identifier:
        shown["series_identifier"] = event.series_identifier
    if location:
        shown["location"] = location
    if event.conferencing is not None:
        shown["conferencing"] = event.conferencing
    return shown


def _rendered(text: str, event: Event) -> str:
    url = (event.conferencing or {}).get("join_url")
    if url is None:
        return _TEMPLATE.sub("Conferencing details are to follow.", text)
    block = f"Join the meeting: {url}"
    return _TEMPLATE.sub(lambda match: url if match[1] == "join_url" else block, text)
