"""Reads an account's events at Cronofy, with as few calls as answer the question."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.cronofy.client import Session
from worker.cronofy.errors import ACCOUNT_REFUSED, CronofyError
from worker.cronofy.wire import UserInfo, read_event
from worker.diagnosis.model import Missing, Profiles, Seen
from worker.ledger.records import EventKey, LastRead, TrackedEvent
from worker.reconcile.plan import ReadingPlan


@dataclass(slots=True)
class Readings:
    """What a look read; an event in neither `sightings` nor `problems` was not read."""

    sightings: dict[EventKey, Seen | Missing] = field(default_factory=dict)
    #: What the first read showed of tracked events, as on the wire.
    shown: Mapping[EventKey, dict[str, Any]] = field(default_factory=dict)
    #: None if the events were not read: the sightings are then what we remembered.
    read: LastRead | None = None
    #: Events that could not be read, and why.
    problems: dict[EventKey, Exception] = field(default_factory=dict)
    userinfo: UserInfo | None = None
    #: Why UserInfo is None though it was needed.
    userinfo_failure: CronofyError | None = None

    @property
    def profiles(self) -> Profiles | None:
        """The account's profiles, if UserInfo was read."""
        return self.userinfo.profiles if self.userinfo else None


def observe(
    session: Session,
    due: Collection[TrackedEvent],
    others: Collection[TrackedEvent],
    plan: ReadingPlan,
    now: datetime,
    past: Collection[EventKey] = (),
) -> Readings:
    """Carry out the plan for the `due` events, and keep what it shows of `others`; and, unjudged, of `past`.

    An event missing from the first read counts as Missing only after a second one, with deleted events
    and without a window. UserInfo is read only if an event is undecided or the plan says so. Raises
    CronofyError if nothing was learnt, and one of `ACCOUNT_REFUSED` whenever Cronofy refuses the account.
    """
    readings = Readings()
    if not plan.windows:
        readings.userinfo = session.userinfo()
        return readings
    if plan.waited_for:
        readings.userinfo = session.userinfo()
        if plan.waited_for <= set(readings.userinfo.profiles.disconnected):
            readings.sightings = {event.key: event.remembered for event in due}
            return readings
    tracked = {event.key for event in (*due, *others)} | set(past)
    items = readings.shown = _read(session, due, tracked, plan, readings)
    unseen = [event for event in due if event.key not in items]
    _take(readings, items, [event for event in due if event.key in items])
    _take(readings, items, [event for event in others if event.key in items])
    if unseen:
        try:
            items = session.read_events(
                {event.key.calendar_id for event in unseen}, None, include_deleted=True, wanted=tracked
            )
        except ACCOUNT_REFUSED:
            raise
        except CronofyError as error:
            readings.problems.update({event.key: error for event in unseen})
        else:
            _take(readings, items, unseen)
    needed = plan.ask_userinfo or any(undecided(seen, now) for seen in readings.sightings.values())
    if needed and readings.userinfo is None:
        try:
            readings.userinfo = session.userinfo()
        except ACCOUNT_REFUSED:
            raise
        except CronofyError as error:
            readings.userinfo_failure = error
    return readings


def _read(
    session: Session,
    due: Collection[TrackedEvent],
    tracked: Collection[EventKey],
    plan: ReadingPlan,
    readings: Readings,
) -> dict[EventKey, dict[str, Any]]:
    """The tracked events in the plan's windows; records how many pages that took."""
    items: dict[EventKey, dict[str, Any]] = {}
    for window in plan.windows:
        items |= session.read_events({event.key.calendar_id for event in due}, window, wanted=tracked)
    days = [(window.last - window.first).days for window in plan.windows if window]
    readings.read = LastRead(session.pages, sum(days) or None)
    return items


def _take(
    readings: Readings, items: Mapping[EventKey, dict[str, Any]], events: Iterable[TrackedEvent]
) -> None:
    for event in events:
        item = items.get(event.key)
        try:
            readings.sightings[event.key] = read_event(item, event.tzid) if item is not None else Missing()
        except Exception as error:
            # Only this event's problem: the others are still judged.
            readings.problems[event.key] = error


def undecided(sighting: Seen | Missing, now: datetime) -> bool:
    """Whether the read alone leaves the event undecided, so UserInfo is needed."""
    if isinstance(sighting, Missing):
        # Cronofy may show no events of a calendar that is not connected.
        return True
    if sighting.deleted or sighting.cancelled or sighting.join_url:
        return False
    return sighting.start is None or sighting.start.instant > now
