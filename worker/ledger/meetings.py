"""How meetings began: counted by the day of their start (UTC), with the event that a commit writes.

A meeting is counted once its event needs no further look: it has its link, its start has passed, its looks
were given up, or its account is lost. If the event is taken up again before the start, or is moved, the count
is corrected; how, says ``recount`` in ``scripts/common.lua``.

A day's names are LINK CAUSE DONE ``:`` SERVICE, such as ``w0n:zoom``: a letter, the cause's number, a letter.
Beside them are how long links took (``t`` and the bucket in `SETTLES`) and what the fleet did on that day.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from redis import Redis

from worker.diagnosis.model import Cause, Remedy, Rung, State
from worker.ledger.keys import Keys
from worker.ledger.outcomes import OutcomeType
from worker.ledger.packing import CAUSES
from worker.ledger.records import TrackedEvent, to_ms
from worker.ledger.tallies import CALL, SETTLES

if TYPE_CHECKING:
    from worker.ledger.leases import EventChange

#: How long days are kept, and how far ahead meetings are counted; common.lua keeps them as long.
DAYS_KEPT = 400
#: A meeting tracked later than this before its start could not have its link in time.
TOO_LATE = timedelta(minutes=2)
#: What the fleet did on a day, beside the names of meetings.
DEEDS = ("calls", "mails", "asked", "back")


class Link(StrEnum):
    """How a meeting began."""

    #: A look saw its link before the start.
    WITH = "with"
    #: No look did.
    WITHOUT = "without"
    #: The same, but it was tracked so late that none could be there in time.
    TOO_LATE = "too_late"


class Done(StrEnum):
    """What we did for a meeting; if several things, the first of these."""

    #: A rung of the last resort was set.
    LAST_RESORT = "last_resort"
    #: The user connected a service by our link, and that was set.
    CONNECTED = "connected"
    #: What a person chose was set.
    DECIDED = "decided"
    #: Another profile was set.
    REASSIGNED = "reassigned"
    #: The user was asked to connect a profile again, and the link came.
    RELINKED = "relinked"
    #: The user or the operator was asked for help, and that is all.
    ASKED = "asked"
    #: We only looked.
    NOTHING = "nothing"


#: The letters in a day's names. They are stored, so they never change.
_LINKS = {Link.WITH: "w", Link.WITHOUT: "o", Link.TOO_LATE: "l"}
_DONE = {
    Done.LAST_RESORT: "f",
    Done.CONNECTED: "c",
    Done.DECIDED: "d",
    Done.REASSIGNED: "r",
    Done.RELINKED: "e",
    Done.ASKED: "a",
    Done.NOTHING: "n",
}
_NAME = re.compile(r"([wol])(\d+)([fcdrean]):(.+)")

#: What stands in the way of a link; the other causes say how it ended, or that nothing was found.
_OBSTACLES = frozenset(Cause) - {Cause.GENERATING, Cause.EVENT_IN_PAST, Cause.EVENT_GONE}
#: What asks the user or the operator for help, and the marks of the last resort.
_ASKS = frozenset({Remedy.RELINK_EMAIL, Remedy.CONNECT_EMAIL, Remedy.ESCALATE})
_RUNGS = frozenset(rung.mark for rung in Rung)
#: The service of a meeting that none is known of, or when a day has too many of them.
UNKNOWN, OTHER = "unknown", "other"


#: Lines of an event's history: (cause or state or word, what was done).
Lines = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Meeting:
    """How one meeting began."""

    link: Link
    #: What stood in the way last; `generating` if nothing did.
    cause: Cause
    done: Done
    provider: str


def counted(change: EventChange, now: datetime) -> tuple[int, str]:
    """When the event's meeting starts (ms; 0 if unknown), and what is counted of it, as in `P:counted`.

    The latter is empty if it is not counted (yet). `now` is when the event was looked at.
    """
    before, after = change.before.event, change.after
    starts_at = None if change.dropped else after.starts_at
    if starts_at is None:
        return 0, ""
    start_ms, is_assigned = to_ms(starts_at), _state(after) == State.ASSIGNED
    needs_no_look = change.settle or after.parked is not None or after.next_look is None
    if (
        not needs_no_look
        or after.cause is Cause.EVENT_GONE
        # It had begun before anybody asked us.
        or after.tracked_at >= start_ms
        # It was counted when it was closed.
        or (before.was_closed and starts_at <= now)
        or starts_at - now > timedelta(days=DAYS_KEPT)
    ):
        return start_ms, ""
    link = Link.WITH if is_assigned and now <= starts_at else Link.WITHOUT
    if link is Link.WITHOUT and start_ms - after.tracked_at < TOO_LATE / timedelta(milliseconds=1):
        link = Link.TOO_LATE
    kinds, lines = {outcome.type for outcome in change.outcomes}, _recent(after)
    done = _done(after, lines, kinds, linked=is_assigned)
    meeting = Meeting(link, _cause(lines), done, _provider(after.provider or before.provider or UNKNOWN))
    bucket = SETTLES.bucket(to_ms(now) - after.tracked_at) if is_assigned else ""
    return start_ms, f"{start_ms} {_name(meeting)} {bucket}"


def _state(event: TrackedEvent) -> str | None:
    return event.last.get("state") if event.last else None


def _recent(event: TrackedEvent) -> Lines:
    """Its history since it was tracked last, newest first."""
    return [(what, done) for at, what, done in reversed(event.history) if at >= event.tracked_at]


def _cause(lines: Lines) -> Cause:
    return next((Cause(what) for what, _ in lines if what in _OBSTACLES), Cause.GENERATING)


def _done(event: TrackedEvent, lines: Lines, kinds: set[OutcomeType], *, linked: bool) -> Done:
    remedies = {done for _, done in lines}
    set_ones = {name for name, write in event.writes.items() if write.accepted}
    if OutcomeType.FALLBACK in kinds or set_ones & _RUNGS:
        return Done.LAST_RESORT
    if OutcomeType.REASSIGNED in kinds or set_ones:
        if Remedy.CONNECT_EMAIL in remedies:
            return Done.CONNECTED
        return Done.DECIDED if any(what == "chosen" for what, _ in lines) else Done.REASSIGNED
    if linked and Remedy.RELINK_EMAIL in remedies:
        return Done.RELINKED
    return Done.ASKED if _ASKS & remedies or any(what == "escalated" for what, _ in lines) else Done.NOTHING


@lru_cache(maxsize=256)
def _provider(name: str) -> str:
    return re.sub(r"[^a-z0-9_.-]", "_", name.lower())[:40]


def _name(meeting: Meeting) -> str:
    link, done = _LINKS[meeting.link], _DONE[meeting.done]
    return f"{link}{CAUSES.index(meeting.cause)}{done}:{meeting.provider}"


def _meeting(name: str) -> Meeting | None:
    """The meeting of a day's name; None if a newer version wrote it, or it is not one."""
    found = _NAME.fullmatch(name)
    if found is None or not 0 < int(found[2]) < len(CAUSES):
        return None
    links, deeds = ({letter: word for word, letter in each.items()} for each in (_LINKS, _DONE))
    cause = cast("Cause", CAUSES[int(found[2])])
    return Meeting(Link(links[found[1]]), cause, Done(deeds[found[3]]), found[4])


@dataclass(frozen=True, slots=True)
class Day:
    """The meetings that start on one day, in UTC, and what the fleet did on it."""

    date: date
    meetings: Mapping[Meeting, int] = field(default_factory=dict)
    #: How long the links of those with one took, by bucket of `SETTLES`.
    took: Mapping[int, int] = field(default_factory=dict)
    #: `DEEDS`: calls to Cronofy, emails sent, users asked to connect something, those who did.
    deeds: Mapping[str, int] = field(default_factory=dict)


def read_days(redis: Redis, keys: Keys, first: date, last: date) -> tuple[Day, ...]:
    """Every day from `first` to `last`, the oldest first. RedisError if the ledger is away."""
    dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    with redis.pipeline(transaction=False) as pipeline:
        for each in dates:
            pipeline.hgetall(keys.day(str(number_of(each))))
        pipeline.hgetall(keys.counters)
        pipeline.hgetall(keys.daily)
        pipeline.time()
        *found, counters, daily, (seconds, _) = pipeline.execute()
    today = datetime.fromtimestamp(seconds, UTC).date()
    since = _since_sample(_decoded(counters), _decoded(daily))
    return tuple(
        _day(each, _decoded(values), since if each == today else {})
        for each, values in zip(dates, found, strict=True)
    )


def number_of(day: date) -> int:
    """A day's number in its key: days since 1970."""
    return (day - date(1970, 1, 1)).days


def _decoded(values: Mapping[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in values.items()}


def _day(day: date, values: Mapping[str, int], since: Mapping[str, int]) -> Day:
    meetings = {meeting: n for name, n in values.items() if (meeting := _meeting(name))}
    took = {int(name[1:]): n for name, n in values.items() if re.fullmatch(r"t\d+", name)}
    return Day(day, meetings, took, {deed: values.get(deed, 0) + since.get(deed, 0) for deed in DEEDS})


def _since_sample(counters: Mapping[str, int], daily: Mapping[str, int]) -> dict[str, int]:
    """What the fleet did since the last sample; nothing before the first. The same names as in common.lua."""
    totals: Counter[str] = Counter()
    for name, total in counters.items():
        if name.startswith(f"{CALL}:"):
            totals["calls"] += total
    totals["mails"] = counters.get("mail:sent", 0)
    for deed, kinds in _ASKING.items():
        totals[deed] = sum(counters.get(f"outcome:{kind.value}", 0) for kind in kinds)
    return {deed: max(0, totals[deed] - daily[deed]) for deed in DEEDS if deed in daily}


_ASKING = {
    "asked": (OutcomeType.RELINK_REQUESTED, OutcomeType.CONNECT_REQUESTED),
    "back": (OutcomeType.RELINKED, OutcomeType.CONNECTED),
}
