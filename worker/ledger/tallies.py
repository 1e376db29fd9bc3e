"""What the ledger counts besides events and outcomes: calls, how long things took, and how meetings began.

Calls and times are in the counters hash, for the metrics. A histogram is one counter per bucket (not
cumulative) and one for the sum in milliseconds; its count is the sum of its buckets.

A meeting is counted by the day of its start (UTC), with the event that a commit writes, once that needs no
further look: it has its link, its start has passed, its looks were given up, or its account is lost.
If the event is taken up again before the start, or is moved, the count is corrected; how, says ``recount`` in
``scripts/common.lua``. A day's names are LINK CAUSE DONE ``:`` SERVICE, such as ``w0n:zoom``: a letter, the
cause's number, a letter. Beside them are how long links took (``t`` and the bucket in `SETTLES`) and what the
fleet did on that day.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
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
from worker.ledger.paging import of_each
from worker.ledger.records import TrackedEvent, to_ms

if TYPE_CHECKING:
    from worker.ledger.leases import EventChange


@dataclass(frozen=True, slots=True)
class Histogram:
    """How durations are counted; `bounds` are its buckets' upper ends in seconds, plus an open last one."""

    name: str
    bounds: tuple[float, ...]

    def entry(self, milliseconds: float) -> tuple[str, int]:
        """The counter of the bucket that a duration falls into, and what it adds to the sum."""
        return self._bucket_name(self.bucket(milliseconds)), max(0, round(milliseconds))

    def bucket(self, milliseconds: float) -> int:
        return bisect_left(self.bounds, milliseconds / 1000)

    def read(self, counters: Mapping[str, int]) -> tuple[list[tuple[str, int]], float]:
        """The buckets as Prometheus wants them, cumulative by upper bound, and the sum in seconds."""
        total, buckets = 0, []
        for at, bound in enumerate((*self.bounds, None)):
            total += counters.get(self._bucket_name(at), 0)
            buckets.append(("+Inf" if bound is None else f"{bound:.10g}", total))
        return buckets, counters.get(f"{self.name}:ms", 0) / 1000

    def _bucket_name(self, at: int) -> str:
        return f"{self.name}:{self.bounds[at]:.10g}" if at < len(self.bounds) else f"{self.name}:more"


#: A look, from its first call to Cronofy to its commit.
LOOKS = Histogram("look", (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30))
#: An event, from when it was tracked to when it was settled: 10 s to a week.
SETTLES = Histogram("settle", (10, 30, 60, 120, 300, 900, 3600, 14_400, 86_400, 259_200, 604_800))

#: Statuses counted one by one; others count by class, so that an answer cannot invent labels.
STATUSES = frozenset({200, 202, 204, 400, 401, 402, 403, 404, 410, 422, 423, 429, 500, 502, 503, 504})
CALL = "call"


def call_name(endpoint: str, status: int | str) -> str:
    """The counter of calls to this endpoint that ended with this status, or why there was none."""
    if isinstance(status, int) and status not in STATUSES:
        status = f"{status // 100}xx" if 100 <= status < 600 else "other"
    return f"{CALL}:{endpoint}:{status}"


def answers(calls: Mapping[str, int]) -> tuple[int, int]:
    """How many of these calls (by their counters) Cronofy answered, and how many it failed to; no 429."""
    well = badly = 0
    for name, made in calls.items():
        status = name.rpartition(":")[2]
        if status in ("unreachable", "timeout") or status.startswith("5"):
            badly += made
        elif status != "429":
            well += made
    return well, badly


def look_tally(calls: Mapping[str, int], seconds: float) -> dict[str, int]:
    """What one look adds to the counters: its calls, and how long it took."""
    bucket, took = LOOKS.entry(seconds * 1000)
    return {**calls, bucket: 1, f"{LOOKS.name}:ms": took}


def add(redis: Redis, keys: Keys, tally: Mapping[str, int]) -> None:
    """Add a tally to the counters, in one round trip."""
    of_each(redis, tally.items(), lambda pipe, each: pipe.hincrby(keys.counters, *each))


# Meetings.

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
    WITHOUT = "without"
    #: Without, but it was tracked so late that none could be there in time.
    TOO_LATE = "too_late"


class Done(StrEnum):
    """What we did for a meeting; if several things, the first of these."""

    LAST_RESORT = "last_resort"
    #: The user connected a service by our link, and that was set.
    CONNECTED = "connected"
    #: What a person chose was set.
    DECIDED = "decided"
    REASSIGNED = "reassigned"
    #: The user was asked to connect a profile again, and the link came.
    RELINKED = "relinked"
    #: The user or the operator was asked for help, and that is all.
    ASKED = "asked"
    #: We only looked.
    NOTHING = "nothing"


#: The letters in a day's names, in the order of the words. They are stored, so they never change.
_LINKS, _DONE = dict(zip(Link, "wol", strict=True)), dict(zip(Done, "fcdrean", strict=True))
_NAME = re.compile(r"([wol])(\d+)([fcdrean]):(.+)")

#: What stands in the way of a link; the other causes say how it ended, or that nothing was found.
_OBSTACLES = frozenset(Cause) - {Cause.GENERATING, Cause.EVENT_IN_PAST, Cause.EVENT_GONE}
#: What asks the user or the operator for help, and the marks of the last resort.
_ASKS = frozenset({Remedy.RELINK_EMAIL, Remedy.CONNECT_EMAIL, Remedy.ESCALATE})
_RUNGS = frozenset(rung.mark for rung in Rung)
#: The totals of which each day's part is kept, besides calls: as `DAILY` of common.lua.
_DAILY = {
    "mail:sent": "mails",
    "outcome:relink_requested": "asked",
    "outcome:connect_requested": "asked",
    "outcome:relinked": "back",
    "outcome:connected": "back",
}


@dataclass(frozen=True, slots=True)
class CountedMeeting:
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
    start_ms = to_ms(starts_at)
    is_assigned = after.last is not None and after.last.get("state") == State.ASSIGNED
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
    # Since it was tracked last, newest first.
    lines = [(what, done) for at, what, done in reversed(after.history) if at >= after.tracked_at]
    cause = next((Cause(what) for what, _ in lines if what in _OBSTACLES), Cause.GENERATING)
    done = _done(after, lines, {outcome.type for outcome in change.outcomes}, linked=is_assigned)
    provider = _provider(after.provider or before.provider or "unknown")
    bucket = SETTLES.bucket(to_ms(now) - after.tracked_at) if is_assigned else ""
    return start_ms, f"{start_ms} {_LINKS[link]}{CAUSES.index(cause)}{_DONE[done]}:{provider} {bucket}"


def _done(
    event: TrackedEvent, lines: Sequence[tuple[str, str]], kinds: set[OutcomeType], *, linked: bool
) -> Done:
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


def _meeting(name: str) -> CountedMeeting | None:
    """The meeting of a day's name; None if a newer version wrote it, or it is not one."""
    found = _NAME.fullmatch(name)
    if found is None or not 0 < int(found[2]) < len(CAUSES):
        return None
    links, deeds = ({letter: word for word, letter in each.items()} for each in (_LINKS, _DONE))
    cause = cast("Cause", CAUSES[int(found[2])])
    return CountedMeeting(Link(links[found[1]]), cause, Done(deeds[found[3]]), found[4])


@dataclass(frozen=True, slots=True)
class Day:
    """The meetings that start on one day, in UTC, and what the fleet did on it."""

    date: date
    meetings: Mapping[CountedMeeting, int] = field(default_factory=dict)
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
    since = _since_sample(read_counters(counters), read_counters(daily))
    return tuple(
        _day(each, read_counters(values), since if each == today else {})
        for each, values in zip(dates, found, strict=True)
    )


def number_of(day: date) -> int:
    """A day's number in its key: days since 1970."""
    return (day - date(1970, 1, 1)).days


def read_counters(values: Mapping[bytes, bytes]) -> dict[str, int]:
    """The numbers in a hash, by their names."""
    return {name.decode(): int(value) for name, value in values.items()}


def _day(day: date, values: Mapping[str, int], since: Mapping[str, int]) -> Day:
    meetings = {meeting: n for name, n in values.items() if (meeting := _meeting(name))}
    took = {int(name[1:]): n for name, n in values.items() if re.fullmatch(r"t\d+", name)}
    return Day(day, meetings, took, {deed: values.get(deed, 0) + since.get(deed, 0) for deed in DEEDS})


def _since_sample(counters: Mapping[str, int], daily: Mapping[str, int]) -> dict[str, int]:
    """What the fleet did since the last sample; nothing before the first."""
    totals: Counter[str] = Counter()
    for name, total in counters.items():
        totals["calls" if name.startswith(f"{CALL}:") else _DAILY.get(name, "")] += total
    return {deed: max(0, totals[deed] - daily[deed]) for deed in DEEDS if deed in daily}
