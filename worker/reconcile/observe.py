"""One look at an account's events through Cronofy's API: as few calls as answer the question."""

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
    """What a look read. An event that is in neither mapping was not looked at."""

    sightings: dict[EventKey, Seen | Missing] = field(default_factory=dict)
    #: Whether the events were read; if not, the sightings are what was remembered of them.
    read: LastRead | None = None
    #: Events that could not be read, and why.
    problems: dict[EventKey, Exception] = field(default_factory=dict)
    userinfo: UserInfo | None = None
    #: Why UserInfo is None although it was needed.
    userinfo_failure: CronofyError | None = None

    @property
    def profiles(self) -> Profiles | None:
        """The account's profiles, where UserInfo was asked."""
        return self.userinfo.profiles if self.userinfo else None


def observe(
    session: Session,
    due: Collection[TrackedEvent],
    others: Collection[TrackedEvent],
    plan: ReadingPlan,
    now: datetime,
) -> Readings:
    """Carry out a plan for the events that are due, and take along what it shows of `others`.

    An event that the first read does not show is looked for once more, with deleted ones and
    without a window, before it counts as Missing. UserInfo is asked only where the read leaves an
    event undecided, or where the plan says so. Raises CronofyError where nothing at all was learnt,
    and one of `ACCOUNT_REFUSED` wherever the account turns out to be refused.
    """
    readings = Readings()
    if plan.waited_for:
        readings.userinfo = session.userinfo()
        if plan.waited_for <= set(readings.userinfo.profiles.disconnected):
            readings.sightings = {event.key: event.remembered for event in due}
            return readings
    items = _read(session, due, plan, readings)
    unseen = [event for event in due if event.key not in items]
    _take(readings, items, [event for event in due if event.key in items])
    _take(readings, items, [event for event in others if event.key in items])
    if unseen:
        try:
            items = session.read_events(
                {event.key.calendar_id for event in unseen}, None, include_deleted=True
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
    session: Session, due: Collection[TrackedEvent], plan: ReadingPlan, readings: Readings
) -> dict[EventKey, dict[str, Any]]:
    """All managed events of the plan's windows, and how many pages they were."""
    items: dict[EventKey, dict[str, Any]] = {}
    for window in plan.windows:
        items |= session.read_events({event.key.calendar_id for event in due}, window)
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
            # It is this event's: the others are judged all the same.
            readings.problems[event.key] = error


def undecided(sighting: Seen | Missing, now: datetime) -> bool:
    """Whether the read alone leaves open how the event stands, so that UserInfo is needed."""
    if isinstance(sighting, Missing) or sighting.deleted or sighting.join_url:
        return False
    return sighting.start is None or sighting.start.instant > now
