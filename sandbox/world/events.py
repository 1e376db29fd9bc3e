"""Events: what a write must contain, what it changes, and what a read shows (§2 to §4)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.world.accounts import Account
from sandbox.world.moments import Moment, utc_text, zone

Errors = dict[str, list[dict[str, str]]]

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
SHAPES: dict[str, type] = {"location": dict, "attendees": dict, "conferencing": dict, "subscriptions": list}
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
    deleted: bool = False
    cancelled: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    attendees: list[dict[str, str]] = field(default_factory=list)
    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    #: What a read shows, and the requested profile, which no read shows (§3).
    conferencing: dict[str, Any] | None = None
    profile_id: str | None = None
    #: Counts the requests for a conference; an attempt for an older request is void.
    generation: int = 0
    #: Failures that were notified for this request.
    notified: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Give the event Cronofy's own id."""
        self.event_uid = ("evt_" if self.event_id else "evt_external_") + secrets.token_hex(12)

    @property
    def pending(self) -> bool:
        """Whether a conference was requested and has not come."""
        return self.conferencing == PENDING


def error(key: str, description: str) -> list[dict[str, str]]:
    """Return one entry of a 422 body (§4)."""
    return [{"key": key, "description": description}]


def validate(body: dict[str, Any], account: Account) -> Errors:
    """Return what is wrong with a Create or Update Event body, by field; empty if nothing is (§4)."""
    errors: Errors = {
        name: error("errors.invalid", f"{name} must be of another type")
        for name, kind in SHAPES.items()
        if not isinstance(body.get(name) or kind(), kind)
    }
    if errors:
        return errors
    for name in ("event_id", "summary", "start", "end"):
        if body.get(name) in (None, ""):
            errors[name] = error("errors.required", f"{name} must be specified")
    for name, longest in (("summary", 1024), ("description", 4096)):
        if len(str(body.get(name) or "")) > longest:
            errors[name] = error("errors.too_long", f"{name} must be at most {longest} characters")
    errors.update(_time_errors(body))
    errors.update(_conferencing_errors(body, account))
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


def _conferencing_errors(body: dict[str, Any], account: Account) -> Errors:
    block = body.get("conferencing")
    if block is None:
        return {}
    profile_id = block.get("profile_id")
    if not profile_id:
        return {"conferencing.profile_id": error("errors.required", "profile_id must be specified")}
    if profile_id == "explicit":
        return {
            f"conferencing.{name}": error("errors.required", f"{name} must be specified")
            for name in ("provider_description", "join_url")
            if not block.get(name)
        }
    # A profile removed in the meantime shows only later: `profile_missing` is asynchronous (§3).
    known = profile_id in WORDS or profile_id in account.removed_profiles
    if not known and account.conferencing_profile(profile_id) is None:
        return {"conferencing.profile_id": error("errors.not_recognized", "profile_id not recognized")}
    return {}


def write(event: Event, body: dict[str, Any]) -> list[tuple[str, str]]:
    """Apply a valid body to the event, except its conferencing; omitted optional fields are kept (§4).

    Returns what attendees are sent: ("invited" or "removed", email).
    """
    tzid = body.get("tzid") or "Etc/UTC"
    event.summary = str(body["summary"])
    event.start = Moment.parse(body["start"], tzid)
    event.end = Moment.parse(body["end"], tzid)
    event.fields.update({name: body[name] for name in OPTIONAL if name in body})
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
    for attendee in delta.get("remove") or []:
        _leave(event, attendee["email"])
        sent.append(("removed", attendee["email"]))
    return sent


def _leave(event: Event, email: str) -> None:
    event.attendees = [a for a in event.attendees if a["email"] != email]


def render(event: Event, account: Account, *, localized: bool = False, geo: bool = False) -> dict[str, Any]:
    """Return the event as Read Events shows it (§2); templates are rendered (§9)."""
    fields = dict(event.fields)
    location = dict(fields.pop("location", None) or {})
    if not geo:
        location = {key: value for key, value in location.items() if key == "description"}
    if "description" in location:
        location["description"] = _rendered(location["description"], event)
    managed = event.event_id is not None
    all_day = not isinstance(event.start.value, datetime)
    shown: dict[str, Any] = {
        "calendar_id": event.calendar_id,
        "event_uid": event.event_uid,
        "summary": event.summary,
        "start": event.start.text(localized=localized),
        "end": event.end.text(localized=localized),
        "deleted": event.deleted,
        "created": utc_text(event.created),
        "updated": utc_text(event.updated),
        "participation_status": "accepted",
        "attendees": event.attendees,
        "organizer": {"email": account.email, "display_name": account.name},
        "transparency": "transparent" if all_day else "opaque",
        "status": "cancelled" if event.cancelled else "confirmed",
        "categories": [],
        "recurring": False,
        "event_private": False,
        "options": {"delete": managed, "update": managed, "change_participation_status": not managed},
        **{key: value for key, value in fields.items() if value is not None},
        "description": _rendered(fields.get("description") or "", event),
    }
    if managed:
        shown["event_id"] = event.event_id
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
