"""One look at an account's events through Cronofy's API: as few calls as answer the question."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from worker.cronofy.client import Session, Window
from worker.cronofy.errors import CronofyError, GrantRefused, Malformed, ScopeRefused
from worker.cronofy.wire import UserInfo, read_event
from worker.diagnosis.model import Missing, Seen
from worker.ledger.records import EventKey, TrackedEvent

#: Cronofy reads no further than 42 days back and 201 ahead (reference §2); near that no window is given.
READABLE_PAST, READABLE_AHEAD = timedelta(days=40), timedelta(days=198)


@dataclass(slots=True)
class Readings:
    """What a look read. An event that is in neither mapping was not looked at."""

    sightings: dict[EventKey, Seen | Missing] = field(default_factory=dict)
    #: Events of which this look could not tell, and why.
    failures: dict[EventKey, CronofyError] = field(default_factory=dict)
    userinfo: UserInfo | None = None
    #: Why UserInfo is None although it was needed.
    userinfo_failure: CronofyError | None = None


def observe(
    session: Session,
    due: Collection[TrackedEvent],
    others: Collection[TrackedEvent],
    now: datetime,
    *,
    ask_userinfo: bool = False,
) -> Readings:
    """Read the events that are due, and take along what the same answer says of `others`.

    An event that the first read does not show is looked for once more, with deleted ones and
    without a window, before it counts as Missing. UserInfo is asked only where the read leaves an
    event undecided, or with `ask_userinfo`. Raises CronofyError where nothing at all was learnt,
    and GrantRefused or ScopeRefused wherever the account turns out to be refused.
    """
    readings = Readings()
    items = session.read_events({event.key.calendar_id for event in due}, window_of(due, now))
    unseen = [event for event in due if event.key not in items]
    _take(readings, items, [event for event in due if event.key in items])
    _take(readings, items, [event for event in others if event.key in items])
    if unseen:
        try:
            items = session.read_events(
                {event.key.calendar_id for event in unseen}, None, include_deleted=True
            )
        except (GrantRefused, ScopeRefused):
            raise
        except CronofyError as error:
            readings.failures.update({event.key: error for event in unseen})
        else:
            _take(readings, items, unseen)
    if ask_userinfo or any(undecided(sighting, now) for sighting in readings.sightings.values()):
        try:
            readings.userinfo = session.userinfo()
        except (GrantRefused, ScopeRefused):
            raise
        except CronofyError as error:
            readings.userinfo_failure = error
    return readings


def window_of(events: Iterable[TrackedEvent], now: datetime) -> Window | None:
    """The days around these events' starts; None where one is unknown or beyond what can be named.

    A day more on either side, since an all-day event begins at another moment in each zone.
    """
    starts = [event.starts_at for event in events]
    known = [start for start in starts if start is not None]
    if len(known) < len(starts) or not known:
        return None
    first, last = min(known), max(known)
    # Compared before any day is added: a start may be the first or the last that a calendar knows.
    if first < now - READABLE_PAST or last > now + READABLE_AHEAD:
        return None
    return Window((first - timedelta(days=1)).date(), (last + timedelta(days=2)).date())


def _take(
    readings: Readings, items: Mapping[EventKey, dict[str, Any]], events: Iterable[TrackedEvent]
) -> None:
    for event in events:
        item = items.get(event.key)
        try:
            readings.sightings[event.key] = read_event(item, event.tzid) if item is not None else Missing()
        except Malformed as error:
            readings.failures[event.key] = error


def undecided(sighting: Seen | Missing, now: datetime) -> bool:
    """Whether the read alone leaves open how the event stands, so that UserInfo is needed."""
    if isinstance(sighting, Missing) or sighting.deleted or sighting.join_url:
        return False
    return sighting.start is None or sighting.start.instant > now
