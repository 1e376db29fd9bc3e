"""Reads an account's events at Cronofy, with as few calls as answer the question."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.cronofy.client import Session
from worker.cronofy.errors import ACCOUNT_REFUSED, CronofyError
from worker.cronofy.wire import UserInfo, read_sighting
from worker.diagnosis.model import Missing, Profiles, Seen
from worker.ledger.records import EventKey, LastRead, TrackedEvent
from worker.reconcile.plan import ReadingPlan


@dataclass(slots=True)
class Readings:
    """What a look read; an event in neither `sightings` nor `problems` was not read."""

    sightings: dict[EventKey, Seen | Missing] = field(default_factory=dict)
    #: What the first read showed of tracked events, as on the wire.
    shown: Mapping[EventKey, list[dict[str, Any]]] = field(default_factory=dict)
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
    and without a window. That one also decides about a series that seems over, or was shown more than once.
    UserInfo is read only if an event is undecided or the plan says so. Raises CronofyError if nothing was
    learnt, and one of `ACCOUNT_REFUSED` whenever Cronofy refuses the account.
    """
    readings = Readings()
    if plan.waited_for:
        readings.userinfo = session.userinfo()
        if plan.waited_for <= set(readings.userinfo.profiles.disconnected):
            readings.sightings = {event.key: event.remembered for event in due}
            return readings
    tracked = {event.key for event in (*due, *others)} | set(past)
    items = readings.shown = _read(session, due, tracked, plan, readings)
    _take(readings, items, [event for event in (*due, *others) if event.key in items], now)
    unclear = {
        key
        for key, sighting in readings.sightings.items()
        if _is_unclear(sighting, len(items[key]), now, everything=None in plan.windows)
    }
    for key in unclear:
        del readings.sightings[key]
    unseen = [event for event in due if event.key not in items or event.key in unclear]
    if unseen:
        try:
            found = session.read_events(
                {event.key.calendar_id for event in unseen}, None, include_deleted=True, wanted=tracked
            )
        except ACCOUNT_REFUSED:
            raise
        except CronofyError as error:
            readings.problems.update({event.key: error for event in unseen})
        else:
            # What was shown once is not gone.
            _take(readings, {key: items[key] for key in unclear} | found, unseen, now)
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
) -> dict[EventKey, list[dict[str, Any]]]:
    """The tracked events in the plan's windows; records how many pages that took."""
    items: dict[EventKey, list[dict[str, Any]]] = {}
    for window in plan.windows:
        found = session.read_events({event.key.calendar_id for event in due}, window, wanted=tracked)
        for key, shown in found.items():
            items.setdefault(key, []).extend(shown)
    days = [(window.last - window.first).days for window in plan.windows if window]
    readings.read = LastRead(session.pages, sum(days) or None)
    return items


def _take(
    readings: Readings,
    items: Mapping[EventKey, list[dict[str, Any]]],
    events: Iterable[TrackedEvent],
    now: datetime,
) -> None:
    for event in events:
        shown = items.get(event.key)
        try:
            readings.sightings[event.key] = (
                read_sighting(shown, event.tzid, now, series=event.series) if shown else Missing()
            )
        except Exception as error:
            # Only this event's problem: the others are still judged.
            readings.problems[event.key] = error


def _is_unclear(sighting: Seen | Missing, times: int, now: datetime, *, everything: bool) -> bool:
    """Whether a series takes a second read: it was shown several `times`, as an event is that moves from one
    page to the next meanwhile; or it seems over, and the read did not show `everything`.
    """
    if isinstance(sighting, Missing) or not sighting.series or sighting.join_url:
        return False
    if times > 1:
        return True
    if everything:
        return False
    over = sighting.start is None or sighting.start.instant <= now
    return over or sighting.deleted or sighting.cancelled


def undecided(sighting: Seen | Missing, now: datetime) -> bool:
    """Whether the read alone leaves the event undecided, so UserInfo is needed."""
    if isinstance(sighting, Missing):
        # Cronofy may show no events of a calendar that is not connected.
        return True
    if sighting.deleted or sighting.cancelled or sighting.join_url:
        return False
    return sighting.start is None or sighting.start.instant > now
