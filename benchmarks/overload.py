"""Overload: when more is due than Cronofy's limits allow, which meetings are fixed before they start?

Everything is due at once, and every meeting can be fixed by one look of three calls (a read, UserInfo, an
update). The ledger's own scripts promote, claim, commit and release, and the budget's own script grants or
refuses, on a real server and a simulated clock; only the look itself is not made. Three orders are compared:

- ours: the order in which the ledger hands out accounts;
- first in, first out: the same ledger and budget, but the ledger does not know when the meetings start;
- clairvoyant: the best that any order could achieve with as many calls, computed exactly. All looks cost
  the same and nothing arrives later, so that is: in the order of their starts, skipping each meeting that
  can no longer be reached. It makes every call as soon as the limits allow it.

A look expects three calls; at a meeting that has started it makes one, the read that shows it, and fixes
nothing. The number of allowed calls bounds the figures, not this machine: of Cronofy's 500 a minute 400 are
ours, and a tenth of these is kept for urgent looks even when there are none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from cryptography.fernet import Fernet
from redis import ConnectionPool
from rich.progress import Progress

from benchmarks.report import Report, Value
from benchmarks.simulated import SimulatedRedis
from benchmarks.stage import event_body, redis_server
from worker.cronofy.budget import Budget, Spending
from worker.cronofy.errors import OutOfBudget
from worker.ledger.leases import Change, EventChange
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey, TrackedEvent, to_ms
from worker.ledger.vault import Vault
from worker.run.looks import SHORTEST_REST

#: Cronofy's limits for an application, and our share.
PER_SECOND, PER_MINUTE, SHARE = 50, 500, 0.8
#: The part of our share that looks which are not urgent may use when nothing urgent is waiting.
ROUTINE = 0.9
CALLS_OF_A_LOOK, CALLS_IF_STARTED = 3, 1
MEETINGS, HOURS, QUICK = 20_000, 8, 20
#: How many meetings start within the first hour; the others are spread evenly over the rest. The first
#: set is no crowd at all, the second needs about what is allowed, the third half as much again.
IN_FIRST_HOUR = (2_500, 8_000, 12_000)
#: When everything falls due.
BEGIN = datetime(2030, 1, 7, 8, tzinfo=UTC)
SWEEP_EVERY = timedelta(seconds=5)
#: As many as one sweep script moves.
MOVED_AT_A_TIME = 300
LEASE = timedelta(seconds=40)

HEADINGS = (
    "meetings",
    "first hour",
    "at best",
    "ours",
    "ours %",
    "FIFO",
    "FIFO %",
    "calls, ours",
    "too late, ours",
    "calls, FIFO",
    "too late, FIFO",
)


@dataclass(frozen=True, slots=True)
class Result:
    """One order's result."""

    #: Meetings fixed before their start.
    in_time: int
    calls: int
    #: Calls for meetings that had already started when their turn came.
    too_late: int


def run(quick: bool) -> Report:
    """Run each set of meetings in each order."""
    scale = QUICK if quick else 1
    chance, rows = random.Random(1), []  # noqa: S311 - when meetings start, and no secret
    for in_first_hour in IN_FIRST_HOUR:
        hour = timedelta(hours=1) / scale
        starts = _starts(chance, MEETINGS // scale, in_first_hour // scale, hour)
        best, ours, fifo = _clairvoyant(starts), _simulate(starts), _simulate(starts, blind=True)
        rows.append(_row(starts, in_first_hour // scale, best, ours, fifo))
    return Report(
        name="overload",
        title=f"Overload: meetings fixed before their start, {_routine(PER_MINUTE)} calls a minute",
        headings=HEADINGS,
        rows=rows,
        notes=(
            "First hour: how many of the meetings start within it. At best: fixed in time by a schedule "
            "that knows the future, bound by nothing but the limits; % is of that. FIFO: first in, first "
            "out. Too late: calls for meetings that had started before their turn came.",
        ),
        settings={
            "seed": 1,
            "hours": HOURS / scale,
            "calls of a look": CALLS_OF_A_LOOK,
            "calls of a look at a started meeting": CALLS_IF_STARTED,
            "sweep every, s": SWEEP_EVERY.total_seconds(),
        },
    )


def _starts(chance: random.Random, meetings: int, in_first_hour: int, hour: timedelta) -> list[datetime]:
    """When the meetings start, in the order they are tracked."""
    early = [BEGIN + chance.random() * hour for _ in range(in_first_hour)]
    later = [BEGIN + hour + chance.random() * (HOURS - 1) * hour for _ in range(meetings - in_first_hour)]
    starts = early + later
    chance.shuffle(starts)
    return starts


def _clairvoyant(starts: Sequence[datetime]) -> Result:
    """The best possible result: equal looks, each ending before a start, everything known upfront."""
    second, minute = _routine(PER_SECOND), _routine(PER_MINUTE)
    calls: list[datetime] = []
    for start in sorted(starts):
        before = len(calls)
        for _ in range(CALLS_OF_A_LOOK):
            moment = calls[-1] if calls else BEGIN
            if len(calls) >= second:
                moment = max(moment, calls[-second] + timedelta(seconds=1))
            if len(calls) >= minute:
                moment = max(moment, calls[-minute] + timedelta(minutes=1))
            calls.append(moment)
        if calls[-1] >= start:
            del calls[before:]
    return Result(len(calls) // CALLS_OF_A_LOOK, len(calls), 0)


def _routine(limit: int) -> int:
    return int(int(limit * SHARE) * ROUTINE)


def _simulate(starts: Sequence[datetime], *, blind: bool = False) -> Result:
    """Look at every meeting once, in the ledger's order; `blind`: the ledger does not know the starts."""
    with redis_server() as url, Progress(transient=True) as progress:
        redis = SimulatedRedis(connection_pool=ConnectionPool.from_url(url))
        redis.set_clock(BEGIN)
        prefix = f"bench-{uuid4().hex[:8]}"
        vault = Vault([Fernet.generate_key().decode()])
        ledger = Ledger(redis, prefix, vault, timedelta(days=7), outcomes_keep=100)
        budget = Budget(redis, prefix, "simulated", per_second=PER_SECOND, per_minute=PER_MINUTE, share=SHARE)
        filling = progress.add_task("Tracking", total=len(starts))
        for n, start in enumerate(starts):
            ledger.track(_sub(n), _meeting(n, None if blind else start))
            progress.advance(filling)
        looking = progress.add_task("Looking, " + ("FIFO" if blind else "ours"), total=len(starts))
        result = _work_off(redis, ledger, budget, starts, lambda: progress.advance(looking))
        if ledger.counters()["events:pending"] != 0:
            raise SystemExit("Not every meeting was looked at: the figures would be meaningless.")
        redis.close()
    return result


def _work_off(
    redis: SimulatedRedis,
    ledger: Ledger,
    budget: Budget,
    starts: Sequence[datetime],
    done: Callable[[], None],
) -> Result:
    """Sweep and look until nothing is left."""
    left = {_sub(n): start for n, start in enumerate(starts)}
    calls: list[datetime] = []
    in_time = too_late = 0
    now = next_sweep = BEGIN
    rest: timedelta | None = None
    while left:
        redis.set_clock(now)
        if now >= next_sweep:
            while ledger.promote(MOVED_AT_A_TIME).due:
                pass
            next_sweep += SWEEP_EVERY
        while lease := ledger.claim(LEASE):
            started = left[lease.sub] <= now
            cost = CALLS_IF_STARTED if started else CALLS_OF_A_LOOK
            rest = _spend(budget, cost)
            if rest:
                ledger.release(lease)
                break
            calls += [now] * cost
            in_time += not started
            too_late += cost if started else 0
            stored = lease.events[0]
            ledger.commit(
                lease, Change([EventChange(stored, replace(stored.event, next_look=None), settle=True)])
            )
            del left[lease.sub]
            done()
        # A batch that runs out of budget wakes the next one, or leaves that to the sweep.
        now = min(now + max(rest or SWEEP_EVERY, SHORTEST_REST), next_sweep)
    _check_limits(calls)
    return Result(in_time, len(calls), too_late)


def _spend(budget: Budget, calls: int) -> timedelta | None:
    """Make a look's calls; returns None, or how long to wait if the look may not begin."""
    spending = Spending(budget, CALLS_OF_A_LOOK, urgent=False)
    try:
        for _ in range(calls):
            spending.take()
    except OutOfBudget as refused:
        return refused.retry_after
    finally:
        spending.end()
    return None


def _check_limits(calls: Sequence[datetime]) -> None:
    """The simulated clock is only trusted if the budget kept its limits on it."""
    for limit, length in ((PER_SECOND, timedelta(seconds=1)), (PER_MINUTE, timedelta(minutes=1))):
        if any(
            last - first < length for first, last in zip(calls, calls[int(limit * SHARE) :], strict=False)
        ):
            raise SystemExit(f"More calls were granted within {length} than the limits allow.")


def _meeting(n: int, start: datetime | None) -> TrackedEvent:
    body = event_body(f"event-{n}", start or BEGIN, f"pro_{n}")
    if start is None:
        # Without starts the ledger ranks all alike, and Redis returns equals by name.
        del body["start"], body["end"]
    return TrackedEvent(
        key=EventKey(f"cal_{n}", f"event-{n}"),
        body=body,
        provider_name="zoom",
        tracked_at=to_ms(BEGIN),
        asked_at=to_ms(BEGIN),
        profile_id=f"pro_{n}",
        next_look=to_ms(BEGIN),
    )


def _row(
    starts: Sequence[datetime], in_first_hour: int, best: Result, ours: Result, fifo: Result
) -> dict[str, Value]:
    return {
        "meetings": len(starts),
        "first hour": in_first_hour,
        "at best": best.in_time,
        "ours": ours.in_time,
        "ours %": f"{100 * ours.in_time / best.in_time:.1f}",
        "FIFO": fifo.in_time,
        "FIFO %": f"{100 * fifo.in_time / best.in_time:.1f}",
        "calls, at best": best.calls,
        "calls, ours": ours.calls,
        "too late, ours": ours.too_late,
        "calls, FIFO": fifo.calls,
        "too late, FIFO": fifo.too_late,
    }


def _sub(n: int) -> str:
    return f"acc_{n:09}"
