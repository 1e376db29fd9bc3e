"""Read Events: which events a query returns, in which order, on which pages (§2)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.personality import Personality
from sandbox.world.accounts import Account
from sandbox.world.errors import Errors, Invalid, error
from sandbox.world.events import Event, occurrences, render
from sandbox.world.moments import DATE, Moment, zone
from sandbox.world.world import World

#: How far the application can read events it does not manage; also the default window.
PAST, AHEAD = timedelta(days=42), timedelta(days=201)
FLAGS = (
    "include_managed",
    "only_managed",
    "include_deleted",
    "include_moved",
    "localized_times",
    "include_geo",
    "google_event_ids",
)


@dataclass(frozen=True, slots=True)
class Query:
    """A validated Read Events call."""

    tzid: str
    calendar_ids: list[str]
    flags: frozenset[str]
    start: datetime | None
    end: datetime | None
    last_modified: datetime | None

    @classmethod
    def parse(cls, given: Mapping[str, str], calendar_ids: list[str], account: Account) -> Query:
        """Parse the query string, or raise `Invalid`.

        `calendar_ids` has the repeated `calendar_ids[]`; none means every calendar.
        """
        tzid = given.get("tzid", "")
        try:
            home = zone(tzid)
        except ValueError:
            raise Invalid({"tzid": error("errors.tzid_unrecognized", "TZID not recognized")}) from None
        errors: Errors = {}
        flags = set()
        for name in FLAGS:
            # The Python SDK sends True and False, the C# SDK true and false.
            value = given.get(name, "false").lower()
            if value not in ("true", "false"):
                errors[name] = error("errors.must_be_boolean", f"{name} must be a boolean")
            elif value == "true":
                flags.add(name)
        times: dict[str, datetime | None] = {}
        for name in ("from", "to", "last_modified"):
            try:
                times[name] = _instant(given[name], home) if name in given else None
            except ValueError:
                errors[name] = error("errors.invalid", f"{name} must be a date or a time")
        own = account.calendar_ids()
        if not set(calendar_ids) <= set(own):
            errors["calendar_ids"] = error("errors.invalid_calendar_ids", "calendar_ids are not valid")
        if errors:
            raise Invalid(errors)
        return cls(
            tzid, calendar_ids or own, frozenset(flags), times["from"], times["to"], times["last_modified"]
        )

    def connected(self, account: Account) -> Query:
        """Return the query without the calendars whose profile is disconnected."""
        homes = {calendar_id: account.calendar(calendar_id) for calendar_id in self.calendar_ids}
        left = [calendar_id for calendar_id, home in homes.items() if home and home[0].connected]
        return replace(self, calendar_ids=left)

    def wants(self, event: Event, now: datetime) -> bool:
        managed = event.event_id is not None
        if managed and not self.flags & {"include_managed", "only_managed"}:
            return False
        if not managed and "only_managed" in self.flags:
            return False
        if event.deleted and "include_deleted" not in self.flags:
            return False
        if self.last_modified and event.updated < self.last_modified:
            return False
        start, end = self.start, self.end
        if not managed:
            # Only these are limited to the default window; an explicit one limits all events (§2).
            start = max(start or now - PAST, now - PAST)
            end = min(end or now + AHEAD, now + AHEAD)
        after_start = start is None or event.end.instant(self.tzid) >= start
        return after_start and (end is None or event.start.instant(self.tzid) < end)


def _instant(text: str, home: ZoneInfo) -> datetime:
    if DATE.fullmatch(text):
        return datetime.combine(datetime.fromisoformat(text), time(), home).astimezone(UTC)
    return Moment.parse(text, home.key).instant()


def page_of(
    world: World, account: Account, personality: Personality, query: Query, number: int, size: int
) -> tuple[list[dict[str, Any]], int]:
    """Return the events of page `number` (from 1) and the current number of pages.

    The query runs again for each page, so events may move between pages while they change.
    """
    now = world.now()
    until = max(query.end or now, now + AHEAD)
    all_of_them = (
        each
        for c in query.calendar_ids
        for e in world.events(c)
        for each in occurrences(e, personality, until)
    )
    found = [e for e in all_of_them if query.wants(e, now)]
    found.sort(key=lambda e: (e.start.instant(query.tzid), e.event_uid))
    shown = [
        render(
            e,
            account,
            personality,
            localized="localized_times" in query.flags,
            geo="include_geo" in query.flags,
        )
        for e in found[(number - 1) * size : number * size]
    ]
    return shown, max(number, -(-len(found) // size))


def page_token(sub: str, query_string: str, number: int) -> str:
    """Return the opaque end of a `next_page` URL."""
    return base64.urlsafe_b64encode(json.dumps([sub, query_string, number]).encode()).decode().rstrip("=")


def read_page_token(token: str, sub: str) -> tuple[str, int] | None:
    """Return the query string and page number, or None for a token that is not this account's."""
    try:
        owner, query_string, number = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, TypeError):
        return None
    return (str(query_string), int(number)) if owner == sub else None
