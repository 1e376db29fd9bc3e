"""What a look asks: Cronofy, as planned before the first call; and the application, for the next token.

API calls are what we are short of, so the cheapest question that can settle the matter comes first. Planning
is pure.

Each token is asked for once: before it lapses, or when it did or Cronofy refused it, and only while a pending
event needs it. Without a token, looks go on as usual but make no call: they see to it that a person is told
in time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from worker.cronofy.client import Session, Window
from worker.cronofy.errors import ACCOUNT_REFUSED, CronofyError
from worker.cronofy.wire import UserInfo, read_sighting
from worker.diagnosis.model import Cause, Missing, Profiles, Seen
from worker.ledger.leases import Lease
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import AccessToken, EventKey, LastRead, Memo, TrackedEvent, from_ms, to_ms
from worker.reconcile.episodes import is_postponed, next_reminder
from worker.reconcile.relinks import RelinkRules
from worker.wording import utc

#: Cronofy reads at most 42 days back and 201 ahead (reference §2); near those limits we give no window.
READABLE_PAST, READABLE_AHEAD = timedelta(days=40), timedelta(days=198)
#: An event that waits for its user is still read this often: it may have been moved or deleted.
READ_AT_LEAST_EVERY = timedelta(hours=1)
#: A start's day and one on either side: an all-day event begins at a different moment in each zone.
MARGIN_DAYS = 3

_USELESS = "The account's access token lapsed, or Cronofy refused it, at {at}."


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """What a look asks Cronofy, in order, and how many calls to expect."""

    #: The days to read, one read per window; None is all of time. Without any window only UserInfo is read.
    windows: tuple[Window | None, ...]
    #: UserInfo is read first; if these profiles are all still disconnected, nothing else is.
    waited_for: frozenset[str] = frozenset()
    #: Read UserInfo whatever the events show.
    ask_userinfo: bool = False
    calls: int = 1


def plan_reading(
    due: Collection[TrackedEvent],
    memo: Memo,
    rules: RelinkRules,
    now: datetime,
    *,
    force_read: bool = False,
    ask_profiles: bool = False,
    asked: bool = False,
) -> ReadingPlan:
    """Plan a look at the `due` events of an account.

    `force_read` never skips the events; `ask_profiles` reads UserInfo, even if there are none; `asked`: its
    user was asked to connect a service.
    """
    if not due:
        return ReadingPlan((), ask_userinfo=True)
    windows = windows_for(due, memo.last_read, now)
    waited_for = frozenset() if force_read else _waited_for(due, memo, rules, now)
    if waited_for:
        return ReadingPlan(windows, waited_for, ask_userinfo=True, calls=1)
    # A profile that was connected again is reported once, even if its events have settled.
    ask_userinfo = ask_profiles or asked or bool(memo.episodes)
    # A first look usually finds the conference; an event that was pending usually still is.
    likely = ask_userinfo or any(event.last is not None for event in due)
    # Cronofy may show no events of a calendar that is not connected, so they are read a second time.
    hidden = any(event.lacked_calendar for event in due)
    pages = sum(_pages(window, memo.last_read) for window in windows)
    return ReadingPlan(windows, ask_userinfo=ask_userinfo, calls=pages + likely + hidden)


def _waited_for(
    due: Collection[TrackedEvent], memo: Memo, rules: RelinkRules, now: datetime
) -> frozenset[str]:
    """The disconnected profiles that all these events wait for; empty if any event needs a read.

    Nothing happens to an event while its profile is disconnected, so UserInfo alone can tell. But past
    events must be closed, and a reminder mentions only meetings that were just read.
    """
    profiles = set()
    for event in due:
        profile_id = event.waits_for if event.cause is Cause.CREDENTIALS_EXPIRED else None
        episode = memo.episodes.get(profile_id) if profile_id else None
        if profile_id is None or episode is None or is_postponed(episode):
            return frozenset()
        read_lately = event.read_at is not None and now - from_ms(event.read_at) < READ_AT_LEAST_EVERY
        upcoming = event.starts_at is not None and event.starts_at > now
        reminder = next_reminder(episode, rules.reminders)
        if not (read_lately and upcoming) or (reminder is not None and now >= reminder):
            return frozenset()
        profiles.add(profile_id)
    return frozenset(profiles)


def windows_for(
    events: Iterable[TrackedEvent], last_read: LastRead | None, now: datetime
) -> tuple[Window | None, ...]:
    """The days to read for these events: one window around all starts, or several if that saves pages.

    None is all of time: for a start that is unknown or out of range.
    """
    starts = [event.starts_at for event in events]
    known = [start for start in starts if start is not None]
    if len(known) < len(starts) or not known:
        return (None,)
    # Compare before adding days: a start may be the first or last date there is.
    if min(known) < now - READABLE_PAST or max(known) > now + READABLE_AHEAD:
        return (None,)
    groups: list[list[date]] = []
    for day in sorted({start.date() for start in known}):
        if groups and _together_is_cheaper(groups[-1], day, last_read):
            groups[-1].append(day)
        else:
            groups.append([day])
    return tuple(_around(group) for group in groups)


def _together_is_cheaper(group: Sequence[date], day: date, last_read: LastRead | None) -> bool:
    apart = _pages(_around(group), last_read) + _pages(_around([day]), last_read)
    return _pages(_around([*group, day]), last_read) <= apart


def _around(days: Sequence[date]) -> Window:
    return Window(days[0] - timedelta(days=1), days[-1] + timedelta(days=MARGIN_DAYS - 1))


def _pages(window: Window | None, last_read: LastRead | None) -> int:
    """How many pages to expect in a window, going by the last read."""
    if last_read is None or last_read.pages <= 1:
        return 1
    if window is None or last_read.days is None:
        return last_read.pages
    return max(1, math.ceil(last_read.pages / last_read.days * (window.last - window.first).days))


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
    if plan.waited_for or not plan.windows:
        readings.userinfo = session.userinfo()
        if plan.waited_for <= set(readings.userinfo.profiles.disconnected):
            readings.sightings = {event.key: event.remembered for event in due}
            return readings
    tracked = {event.key for event in (*due, *others)} | set(past)
    calendars = {event.key.calendar_id for event in due}
    items: dict[EventKey, list[dict[str, Any]]] = {}
    for window in plan.windows:
        for key, shown in session.read_events(calendars, window, wanted=tracked).items():
            items.setdefault(key, []).extend(shown)
    days = sum((window.last - window.first).days for window in plan.windows if window)
    readings.shown, readings.read = items, LastRead(session.pages, days or None)
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


@dataclass(frozen=True, slots=True)
class TokenStep:
    """What is now known of the token, and the outcome that asks for the next one, if it is asked for."""

    token: AccessToken
    outcomes: tuple[Outcome, ...] = ()

    @property
    def since(self) -> datetime:
        """When the token lapses or lapsed."""
        return from_ms(self.token.lapses_at)


def asked_in_time(lease: Lease) -> TokenStep | None:
    """Ask for the next token, if it is time to."""
    token = lease.account.token
    if token is None or token.ask_at is None or token.ask_at > to_ms(lease.now) or not _is_needed(lease):
        return None
    good = token.lapses_at > to_ms(lease.now)
    return _asked(lease, token, "The account's access token lapses at {at}." if good else _USELESS)


def found_useless(lease: Lease) -> TokenStep:
    """The token has lapsed, or Cronofy refuses it: ask for the next, if something needs it and nobody did."""
    now = to_ms(lease.now)
    known = lease.account.token or AccessToken(now, now)
    token = AccessToken(min(known.lapses_at, now), known.ask_at)
    if token.ask_at is None or not _is_needed(lease):
        return TokenStep(token)
    return _asked(lease, token, _USELESS)


def _asked(lease: Lease, token: AccessToken, reason: str) -> TokenStep:
    at = from_ms(token.lapses_at)
    detail = {
        "reason": reason.format(at=utc(at)),
        "lapses_at": at.isoformat(timespec="milliseconds"),
    }
    outcome = Outcome(OutcomeType.TOKEN_NEEDED, lease.sub, lease.now, detail=detail)
    return TokenStep(AccessToken(token.lapses_at), (outcome,))


def _is_needed(lease: Lease) -> bool:
    """Whether a pending event has a use for a token."""
    return any(stored.event.parked is None for stored in lease.events)
