"""What callers may send: the keyword arguments of the contract's tasks (§1), checked before use.

A bad payload raises `BadPayload`, whose reason says what is wrong and where, and never repeats a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationError,
    model_validator,
)

from worker.diagnosis.times import MalformedTime, known_zone, parse_event_time
from worker.ledger.dead_letters import LARGEST
from worker.ledger.records import DataCenter, EventKey
from worker.wording import moment

#: A task's keyword arguments may not be longer than this as JSON (contract §1).
LARGEST_PAYLOAD = LARGEST
#: Ids are opaque, but limited to this many bytes of UTF-8.
LONGEST_ID = 1024
#: No access token is good for longer; a larger number is in another unit.
LONGEST_TOKEN = timedelta(days=3653)
#: Deeper nesting than any event body has.
DEEPEST = 32


class BadPayload(Exception):
    """The keyword arguments of a task break the contract."""


def _short(value: str) -> str:
    if len(value.encode()) > LONGEST_ID:
        raise ValueError("is longer than 1024 bytes")
    return value


def _check_end(until: str | None) -> None:
    try:
        if until is not None:
            moment(until, datetime.now(UTC))
    except ValueError as error:
        raise ValueError(f"until {error}") from None


def _locale(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}", value):
        raise ValueError("must be a language tag such as de or pt-BR")
    return value


def _tzid(value: str) -> str:
    if known_zone(value) is None:
        raise ValueError("must be the name of a time zone such as Europe/Paris")
    return value


Id = Annotated[str, StringConstraints(min_length=1, strict=True), AfterValidator(_short)]
Text = Annotated[str, StringConstraints(strict=True, max_length=1024)]
Token = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=8192)]
#: Who did it, as it is told.
By = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200)]


class Payload(BaseModel):
    """What all payloads share: unknown fields are refused, and no error repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ConnectAccount(Payload):
    """``conferencing.connect_account``: with a refresh token, `expires_in` is unused, as a 401 is enough."""

    sub: Id
    refresh_token: Token | None = None
    access_token: Token | None = None
    expires_in: Annotated[float, Field(strict=True)] | None = None
    data_center: DataCenter = "us"
    email: Text | None = None
    name: Text | None = None
    locale: Annotated[Text, AfterValidator(_locale)] | None = None
    tzid: Annotated[Text, AfterValidator(_tzid)] | None = None

    @model_validator(mode="after")
    def _tokens_are_usable(self) -> Self:
        if self.refresh_token is None:
            if self.access_token is None or self.expires_in is None:
                raise ValueError("Either refresh_token must be given, or access_token with expires_in.")
            if not 0 < self.expires_in <= LONGEST_TOKEN.total_seconds():
                raise ValueError("expires_in must be above 0 and at most ten years, in seconds.")
        return self


class AccountOnly(Payload):
    """``conferencing.forget_account`` and ``conferencing.reconcile_account``."""

    sub: Id


class TrackEvent(Payload):
    """``conferencing.track``: `event` is the exact body that the caller sent to Cronofy."""

    sub: Id
    calendar_id: Id
    event: dict[str, Any]
    provider_name: Text | None = None

    @model_validator(mode="after")
    def _event_is_usable(self) -> Self:
        event_id = self.event.get("event_id")
        if not isinstance(event_id, str) or not event_id:
            raise ValueError("event.event_id must be a non-empty string")
        if len(event_id.encode()) > LONGEST_ID:
            raise ValueError("event.event_id is longer than 1024 bytes")
        conferencing = self.event.get("conferencing")
        if conferencing is not None:
            profile_id = conferencing.get("profile_id") if isinstance(conferencing, dict) else None
            if not isinstance(profile_id, str) or not profile_id:
                raise ValueError("event.conferencing.profile_id must be a non-empty string")
        for name in ("start", "end"):
            try:
                parse_event_time(self.event.get(name))
            except MalformedTime as error:
                raise ValueError(f"event.{name} must be a time: {error}") from None
        return self

    @property
    def key(self) -> EventKey:
        """The event."""
        return EventKey(self.calendar_id, self.event["event_id"])

    @property
    def profile_id(self) -> str | None:
        """The conferencing profile that the caller asked for, if any."""
        conferencing = self.event.get("conferencing")
        return conferencing["profile_id"] if conferencing else None


class OneEvent(Payload):
    """``conferencing.untrack``, ``conferencing.reconcile_event`` and ``conferencing.explain``."""

    sub: Id
    calendar_id: Id
    event_id: Id

    @property
    def key(self) -> EventKey:
        """The event."""
        return EventKey(self.calendar_id, self.event_id)


class AcknowledgeEvent(OneEvent):
    """``conferencing.acknowledge``: `until` is a time, or a duration from now on."""

    note: Text = ""
    until: Text | None = None
    by: By = "task"
    withdraw: StrictBool = False

    @model_validator(mode="after")
    def _end_is_readable(self) -> Self:
        _check_end(self.until)
        return self


class ChooseProfile(Payload):
    """``conferencing.choose_profile``: for one event if it is named, else for all with the profile."""

    sub: Id
    #: The removed one.
    profile_id: Id
    to_profile_id: Id | None = None
    calendar_id: Id | None = None
    event_id: Id | None = None
    by: Text | None = None
    withdraw: StrictBool = False

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.withdraw == (self.to_profile_id is not None):
            raise ValueError("Either to_profile_id or withdraw must be given.")
        if (self.calendar_id is None) != (self.event_id is None):
            raise ValueError("calendar_id and event_id must be given together.")
        return self

    @property
    def event(self) -> tuple[str, str] | None:
        """The one event that it is for."""
        return (self.calendar_id, self.event_id) if self.calendar_id and self.event_id else None


class ChoiceOfIncident(Payload):
    """What was picked for one removed profile of an incident."""

    sub: Id
    profile_id: Id
    #: None: left as it is, whatever was picked for the others.
    to_profile_id: Id | None = None


class DecideIncident(Payload):
    """``conferencing.decide_incident``: what replaces its removed profiles, or somebody answers for it."""

    incident: Id
    choices: tuple[ChoiceOfIncident, ...] = ()
    #: What was picked for the profiles that `choices` does not name.
    others: Id | None = None
    acknowledge: StrictBool = False
    note: Text = ""
    until: Text | None = None
    by: By = "task"

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        chosen = self.others is not None or any(each.to_profile_id for each in self.choices)
        if chosen == self.acknowledge:
            raise ValueError("Either choices, others or acknowledge must be given.")
        _check_end(self.until)
        return self


class ReceiveNotification(Payload):
    """``conferencing.receive_notification``: `body` is the raw request body, `signature` the header."""

    body: Annotated[str, StringConstraints(strict=True)]
    signature: Annotated[str, StringConstraints(strict=True, max_length=8192)]
    sub: Id | None = None
    calendar_id: Id | None = None
    event_id: Id | None = None


P = TypeVar("P", bound=Payload)

#: Plainer words for some of Pydantic's errors.
_FAULTS = {"missing": "is missing", "extra_forbidden": "is unknown", "string_type": "must be a string"}


#: What an argument's name looks like, even a misspelt one's.
_NAME = re.compile(r"[A-Za-z_]{1,30}")


def parse(model: type[P], args: Sequence[Any], kwargs: Mapping[str, Any]) -> P:
    """Check a task's arguments against its model; BadPayload names the first error and where it is."""
    if args:
        raise BadPayload("Only keyword arguments are accepted.")
    _check_json(kwargs)
    try:
        return model.model_validate(dict(kwargs))
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:80] for part in fault["loc"])
        reason = _FAULTS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden" and not _NAME.fullmatch(place):
            # It may be a value that stands where a name belongs.
            raise BadPayload("An argument is unknown.") from None
        raise BadPayload(f"{place}: {reason}" if place else reason) from None


def _check_json(kwargs: Mapping[str, Any]) -> None:
    """Refuse a payload that cannot be written as JSON, or is too large or too deep."""
    try:
        size = len(json.dumps(kwargs, allow_nan=False, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise BadPayload("A string is not valid Unicode (lone surrogate).") from None
    except ValueError:
        raise BadPayload("A number is NaN or infinite.") from None
    except (RecursionError, TypeError):
        raise BadPayload("The payload is not plain JSON.") from None
    if size > LARGEST_PAYLOAD:
        raise BadPayload(f"The payload is {size} bytes long; the limit is {LARGEST_PAYLOAD}.")
    if _depth(kwargs) > DEEPEST:
        raise BadPayload(f"The payload is nested more than {DEEPEST} levels deep.")


def _depth(value: Any) -> int:
    """How deep objects and lists are nested; the JSON encoder has already ruled out endless nesting."""
    # What JSON is read into; to recognise any Mapping takes longer.
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (dict, list))
        ]
    return depth
