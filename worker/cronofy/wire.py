"""Parses Cronofy's answers, leniently where they may grow and strictly where they are evidence.

Unknown fields and values are fine. If a value that decides is invalid, whatever it describes is Malformed: an
error, never evidence. Any other counts as missing, so that it hides nothing (reference §2, §3, §5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
)

from worker.cronofy.errors import Malformed
from worker.diagnosis.model import Calendar, Profile, Profiles, Seen
from worker.diagnosis.times import (
    LONGEST_TIME,
    EventTime,
    MalformedTime,
    known_zone,
    parse_event_time,
    parse_instant,
)


def object_in(value: Any) -> Mapping[str, Any]:
    """A part of an answer, empty unless it is an object."""
    return value if isinstance(value, dict) else {}


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects in a part of an answer that should be a list of them."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text_in(value: Any) -> str | None:
    """A text that can be stored, or None: a lone surrogate cannot be written as UTF-8."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


#: What only informs: missing if it cannot be read.
_Text = Annotated[str | None, BeforeValidator(text_in)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


W = TypeVar("W", bound=_Wire)


class _Pages(_Wire):
    next_page: StrictStr | None = None


class EventsPage(_Wire):
    """One page of Read Events; its events are parsed only when needed, and None if they never are."""

    pages: _Pages = _Pages()
    events: list[dict[str, Any] | None]


#: What a write may have beside times and summary, and a read may show: each with its type. `attendees` is a
#: delta in a write, and `attachments` are ids: neither can be sent as read.
_WRITTEN: Mapping[str, type] = {
    **dict.fromkeys(("description", "url", "transparency", "extended_transparency", "color", "locale"), str),
    **dict.fromkeys(("reminders", "categories"), list),
    "location": dict,
    "event_private": bool,
}
#: What shows that an event is one of a series.
_SERIES = ("recurring", "series_identifier", "recurrence")
#: What `read_sighting` reads of an event, and its ids.
_KEPT = (
    *("calendar_id", "event_id", "event_uid", "created", "deleted", "status"),
    *("start", "end", "summary", "conferencing", *_SERIES, *_WRITTEN),
)


class _Profile(_Wire):
    profile_id: Annotated[StrictStr, Field(min_length=1)]
    profile_connected: StrictBool
    provider_name: _Text = None
    profile_name: _Text = None
    profile_relink_url: _Text = None


class _Calendar(_Wire):
    calendar_id: StrictStr
    calendar_integrated_conferencing_available: Annotated[bool | None, BeforeValidator(_flag)] = None


class _CalendarProfile(_Profile):
    profile_calendars: list[_Calendar] = []


class _Data(_Wire):
    profiles: list[_CalendarProfile] | None = None
    conferencing_profiles: list[_Profile] | None = None


class _UserInfo(_Wire):
    sub: StrictStr
    email: _Text = None
    data: _Data = Field(alias="cronofy.data")


class _Tokens(_Wire):
    access_token: Annotated[StrictStr, Field(min_length=1)]
    refresh_token: StrictStr | None = None


class OpenChannel(_Wire):
    """An open notification channel."""

    channel_id: Annotated[StrictStr, Field(min_length=1)]
    callback_url: StrictStr = ""


class _Channel(_Wire):
    channel: OpenChannel


class _Authorization(_Wire):
    url: StrictStr = Field(validation_alias=AliasPath("authorization_request", "url"))


class _Channels(_Wire):
    channels: list[OpenChannel]


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """The answer to one request of a batch: its status, None if there is none, and a 422's `errors`."""

    status: int | None
    errors: Any = None


class UserInfo(_Wire):
    """A well-formed UserInfo: the profiles, and the address for a relink email."""

    profiles: Profiles
    email: str | None


def read_page(answer: dict[str, Any]) -> EventsPage:
    """A page of events, or Malformed."""
    return _parsed(EventsPage, answer, "Read Events")


def is_event(item: Mapping[str, Any]) -> bool:
    """Whether an object in a page of events is one of them, and not a part of one."""
    return "calendar_id" in item and ("event_id" in item or "event_uid" in item)


def lacks_link(item: Mapping[str, Any]) -> bool:
    """Whether an event in a page of events shows conferencing, but no link."""
    conferencing = item.get("conferencing")
    return bool(conferencing) and not object_in(conferencing).get("join_url")


def slim(item: Mapping[str, Any]) -> dict[str, Any]:
    """An event with its ids and what `read_sighting` reads: the rest may be long, as attendees are."""
    return {name: item[name] for name in _KEPT if name in item}


def read_sighting(
    items: Sequence[dict[str, Any]], tzid: str | None, now: datetime, *, series: bool = False
) -> Seen:
    """The event with everything that a read showed under its id, at least one; Malformed as `read_event`.

    It is a series if its record says so (`series`), if an item does, or if the items are different
    occurrences. A series is judged by its next occurrence to come, or else by the last. A single one that is
    over may be just its first: when the next one is, is then not known.
    """
    seen_in_turn = [read_event(item, tzid) for item in items]
    # The same one may come again with another page or window.
    occurrences = {(seen.event_uid, seen.start and seen.start.instant): seen for seen in seen_in_turn}
    kept = [seen for seen in occurrences.values() if not seen.deleted]
    series = series or len(kept) > 1 or any(_is_series(item) for item in items)
    # What was read last is the newest.
    found = (kept or list(occurrences.values()))[-1]
    if not series:
        return found
    alive = [seen for seen in kept if not seen.cancelled]
    ahead = [seen for seen in alive if seen.start is None or seen.start.instant > now]
    if ahead:
        found = min(ahead, key=_start_of)
    elif alive:
        found = max(alive, key=_start_of)
        if len(kept) == 1 and not found.join_url:
            found = replace(found, start=None, end=None)
    return replace(found, series=True)


def _start_of(seen: Seen) -> datetime:
    return seen.start.instant if seen.start else datetime.max.replace(tzinfo=UTC)


def _is_series(item: Mapping[str, Any]) -> bool:
    return any(item.get(name) not in (None, False, "", [], {}) for name in _SERIES)


def read_event(item: dict[str, Any], tzid: str | None) -> Seen:
    """One event of a page; `tzid` is the zone for times without one.

    Malformed if what decides about it cannot be read: whether it is deleted; else its link; else its start.
    One with the status ``cancelled`` is decided; any other status says nothing.
    Any other value that cannot be read counts as missing.
    """
    conferencing = item.get("conferencing")
    found = object_in(conferencing)
    join_url = text_in(found.get("join_url")) or None
    start, start_is_odd = _time(item.get("start"), tzid)
    end, end_is_odd = _time(item.get("end"), tzid)
    deleted, summary = item.get("deleted"), item.get("summary")
    cancelled = item.get("status") == "cancelled"
    # Nothing is written to such an event, so what a write would have to carry does not matter.
    decided = deleted is True or cancelled or join_url is not None
    shown = {} if decided else {name: item[name] for name in _WRITTEN if item.get(name) is not None}
    lost: dict[str, bool] = {}
    if not decided:
        unclear = {
            "deleted": deleted not in (None, False),
            "conferencing": conferencing is not None and not isinstance(conferencing, dict),
            "conferencing.join_url": found.get("join_url") not in (None, ""),
            "start": start is None and start_is_odd,
        }
        if any(unclear.values()):
            place = next(name for name in unclear if unclear[name])
            raise Malformed(f"An event in Read Events is not as documented at {place}.")
        lost = {
            "start": start_is_odd,
            "end": end_is_odd,
            "summary": summary is not None and text_in(summary) is None,
            **{name: not _can_be_sent(name, shown[name]) for name in shown},
        }
    return Seen(
        start=start,
        end=end,
        summary=text_in(summary),
        deleted=deleted is True,
        cancelled=cancelled,
        join_url=join_url,
        provider_name=text_in(found.get("provider_name")),
        pending=bool(found.get("pending")),
        created=_instant(item.get("created")),
        event_uid=text_in(item.get("event_uid")),
        unreadable=tuple(name for name in lost if lost[name]),
        fields={name: value for name, value in shown.items() if not lost[name]},
    )


def _can_be_sent(name: str, value: Any) -> bool:
    """Whether a field has its type, and can be written as JSON."""
    if isinstance(value, dict) and not isinstance(value.get("description", ""), str | None):
        return False
    if not isinstance(value, _WRITTEN[name]):
        return False
    if isinstance(value, str):
        return text_in(value) is not None
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _time(value: Any, tzid: str | None) -> tuple[EventTime | None, bool]:
    """A start or end, None if it is missing or cannot be read; and whether a part of it cannot be read."""
    zone = object_in(value).get("tzid")
    if zone is not None and not (isinstance(zone, str) and zone.isprintable()):
        return _time({**value, "tzid": None}, tzid)[0], True
    # One that nobody knows cannot be sent back.
    odd = bool(zone) and known_zone(zone) is None
    try:
        return parse_event_time(value, tzid), odd
    except MalformedTime:
        return None, True


def _instant(value: Any) -> datetime | None:
    try:
        return parse_instant(value) if isinstance(value, str) and len(value) <= LONGEST_TIME else None
    except (ValueError, OverflowError):
        return None


def read_userinfo(answer: dict[str, Any], sub: str) -> UserInfo:
    """The UserInfo of the account `sub`, or Malformed."""
    # One has no profiles, and not always the shape of a person's (reference §5).
    if answer.get("cronofy.type") == "service_account":
        raise Malformed("UserInfo describes a service account: connect each user's own account instead.")
    info = _parsed(_UserInfo, answer, "UserInfo")
    if info.sub != sub:
        raise Malformed("UserInfo describes a different account.")
    if info.data.profiles is None and info.data.conferencing_profiles is None:
        raise Malformed("UserInfo lists no profiles of any kind.")
    calendars = tuple(
        Calendar(
            calendar.calendar_id,
            _profile(profile, is_calendar=True),
            calendar.calendar_integrated_conferencing_available,
        )
        for profile in info.data.profiles or []
        for calendar in profile.profile_calendars
    )
    profiles = Profiles(
        conferencing=tuple(_profile(profile) for profile in info.data.conferencing_profiles or []),
        calendars=calendars,
        listed=info.data.conferencing_profiles is not None,
    )
    return UserInfo(profiles=profiles, email=info.email)


def read_tokens(answer: dict[str, Any]) -> tuple[str, str | None]:
    """A refresh's access token and, if given, refresh token; or Malformed."""
    tokens = _parsed(_Tokens, answer, "The token refresh")
    return tokens.access_token, tokens.refresh_token or None


def read_channel(answer: dict[str, Any]) -> OpenChannel:
    """The channel that was opened, or Malformed."""
    return _parsed(_Channel, answer, "The new channel").channel


def read_authorization(answer: dict[str, Any]) -> str:
    """The address at which a user connects a conferencing service; or Malformed."""
    return _parsed(_Authorization, answer, "The conferencing authorization").url


def read_channels(answer: dict[str, Any]) -> list[OpenChannel]:
    """The channels that are open; or Malformed."""
    return _parsed(_Channels, answer, "The list of channels").channels


def read_batch(answer: dict[str, Any], length: int) -> list[BatchEntry]:
    """The entries of a batch's answer, one per request in order; Malformed if they are more or fewer."""
    entries = answer.get("batch")
    if not isinstance(entries, list) or len(entries) != length:
        raise Malformed("The batch's answer does not have one entry for each request.")
    return [_batch_entry(object_in(entry)) for entry in entries]


def _batch_entry(entry: Mapping[str, Any]) -> BatchEntry:
    status = entry.get("status")
    if isinstance(status, str) and len(status) == 3 and status.isdecimal():
        status = int(status)
    known = type(status) is int and 100 <= status < 600
    return BatchEntry(status if known else None, object_in(entry.get("data")).get("errors"))


def _profile(profile: _Profile, *, is_calendar: bool = False) -> Profile:
    return Profile(
        profile.profile_id,
        profile.provider_name,
        profile.profile_name,
        profile.profile_connected,
        profile.profile_relink_url,
        is_calendar,
    )


def _parsed(model: type[W], answer: dict[str, Any], what: str) -> W:
    """The answer as `model`; Malformed names where the first fault is, never the value."""
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])[:120]
    raise Malformed(f"{what} is not as documented at {place or 'its top'} ({fault['type']}).")
