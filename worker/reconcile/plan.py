"""Which calls a look makes, and how many: decided before the first, from what earlier looks found. Pure.

An API call is the currency, so the cheapest question that can settle the matter comes first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from worker.cronofy.client import Window
from worker.diagnosis.model import Cause
from worker.ledger.records import LastRead, Memo, TrackedEvent, from_ms
from worker.reconcile.relinks import RelinkRules, next_reminder

#: Cronofy reads no further than 42 days back and 201 ahead (reference §2); near that no window is given.
READABLE_PAST, READABLE_AHEAD = timedelta(days=40), timedelta(days=198)
#: An event that waits for its user is read at least so often: it may have been moved or deleted.
READ_AT_LEAST_EVERY = timedelta(hours=1)
#: A day more on either side of the starts, since an all-day event begins at another moment in each zone.
MARGIN_DAYS = 3


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """What a look asks Cronofy, in order, and how many calls that will be as far as can be foreseen."""

    #: The days that are read, one read for each; None is all of time.
    windows: tuple[Window | None, ...]
    #: UserInfo comes first, and if these profiles are all still disconnected it comes alone.
    waited_for: frozenset[str] = frozenset()
    #: UserInfo is asked whatever the read shows.
    ask_userinfo: bool = False
    calls: int = 1


def plan_reading(
    due: Collection[TrackedEvent],
    memo: Memo,
    rules: RelinkRules,
    now: datetime,
    *,
    read_anew: bool = False,
) -> ReadingPlan:
    """Plan a look at the `due` events of an account; `read_anew` leaves no read out."""
    windows = windows_for(due, memo.last_read, now)
    waited_for = frozenset() if read_anew else _waited_for(due, memo, rules, now)
    if waited_for:
        return ReadingPlan(windows, waited_for, ask_userinfo=True, calls=1)
    # Whether a profile was connected again is told once, even if its events settled themselves.
    ask_userinfo = bool(memo.episodes)
    # An event's first look mostly finds its conference; one that was pending mostly still is.
    likely = ask_userinfo or any(event.last is not None for event in due)
    pages = sum(_pages(window, memo.last_read) for window in windows)
    return ReadingPlan(windows, ask_userinfo=ask_userinfo, calls=pages + likely)


def _waited_for(
    due: Collection[TrackedEvent], memo: Memo, rules: RelinkRules, now: datetime
) -> frozenset[str]:
    """The disconnected profiles that all of these events wait for; none where any event needs a read.

    Nothing comes of an event while its profile is disconnected, so UserInfo alone can tell. But what
    is past is to be closed, and a reminder speaks of no meeting that was not just read.
    """
    profiles = set()
    for event in due:
        profile_id = event.waits_for
        read_lately = event.read_at is not None and now - from_ms(event.read_at) < READ_AT_LEAST_EVERY
        upcoming = event.starts_at is not None and event.starts_at > now
        if (
            event.cause is not Cause.CREDENTIALS_EXPIRED
            or profile_id is None
            or not (read_lately and upcoming)
        ):
            return frozenset()
        profiles.add(profile_id)
    for profile_id in profiles:
        episode = memo.episodes.get(profile_id)
        if episode is None:
            return frozenset()
        reminder = next_reminder(episode, rules.reminders)
        if reminder is not None and now >= reminder:
            return frozenset()
    return frozenset(profiles)


def windows_for(
    events: Iterable[TrackedEvent], last_read: LastRead | None, now: datetime
) -> tuple[Window | None, ...]:
    """The days to read for these events: one window around all their starts, or several if those hold
    fewer pages; None for all of time, where a start is unknown or beyond what can be named."""
    starts = [event.starts_at for event in events]
    known = [start for start in starts if start is not None]
    if len(known) < len(starts) or not known:
        return (None,)
    # Compared before any day is added: a start may be the first or the last that a calendar knows.
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
    """How many pages a window will have, by how many there were last time."""
    if last_read is None or last_read.pages <= 1:
        return 1
    if window is None or last_read.days is None:
        return last_read.pages
    return max(1, math.ceil(last_read.pages / last_read.days * (window.last - window.first).days))
