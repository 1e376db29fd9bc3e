"""What a look has to cost: the CPU time of the smallest engine that keeps the rules, by step.

It settles one account after the other: claims it, reads its events, diagnoses them and commits what follows,
with the program's own functions for each step. It has no queue, threads, plan, log, remedies, emails, or
guards against failing events. The raw loop only reads. A whole look is the program's, without its queue and
threads.

All is CPU time and not time that passed, so that what else runs on the machine matters little. Redis and the
sandbox are separate processes, whose CPU is counted as well: whoever shares their cores waits for it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from statistics import median
from typing import Any

from benchmarks import stage
from benchmarks.report import Report, Value
from sandbox.control.control import Control
from worker.bootstrap import Services
from worker.cronofy.client import Session
from worker.cronofy.wire import read_sighting
from worker.diagnosis.model import Seen
from worker.intake import accept
from worker.intake.payloads import ConnectAccount
from worker.ledger.leases import Change, Lease
from worker.ledger.records import Account, LastRead, TrackedEvent
from worker.reconcile.observe import Readings, windows_for
from worker.reconcile.verdict import conclude, judge
from worker.run.looks import guarded_look

#: Events an account, and how many accounts.
SIZES, QUICK_SIZES = ((1, 300), (10, 100), (100, 20)), ((1, 10), (10, 5))
ROUNDS = 3
LEASE = timedelta(minutes=5)
STEPS = ("claim", "read", "diagnose", "commit")
HEADINGS = ["events an account", *(f"{step} ms" for step in STEPS), "Redis ms", "sandbox ms", "floor ms"]
HEADINGS += ["whole look ms", "raw loop ms", "raw loop : floor", "raw loop : look"]


@dataclass(slots=True)
class Spent:
    """CPU milliseconds a look."""

    steps: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))
    ours: float = 0.0
    redis: float = 0.0
    sandbox: float = 0.0

    @property
    def total(self) -> float:
        """Of all processes."""
        return self.ours + self.redis + self.sandbox

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what is done within as this step."""
        begun = time.thread_time()
        yield
        self.steps[name] += time.thread_time() - begun


@dataclass(frozen=True, slots=True)
class Stand:
    """The processes that accounts are settled with."""

    redis_url: str
    control: Control
    sandbox: int

    def services(self) -> Services:
        """The program in this process, on a ledger of its own."""
        return stage.services(stage.settings_for(self.redis_url, self.control.base_url))

    def measure(self, work: Services, accounts: int, settle: Callable[[Spent], None]) -> Spent:
        """What it takes to `settle` one account after the other, per account."""
        spent, before = Spent(), self._others(work)
        begun = time.thread_time()
        for _ in range(accounts):
            settle(spent)
        spent.ours = time.thread_time() - begun
        redis, sandbox = (now - then for now, then in zip(self._others(work), before, strict=True))
        per_account = 1000 / accounts
        steps = {name: seconds * per_account for name, seconds in spent.steps.items()}
        return Spent(steps, spent.ours * per_account, redis * per_account, sandbox * per_account)

    def _others(self, work: Services) -> tuple[float, float]:
        server: Any = work.ledger.redis.info("cpu")
        used = server["used_cpu_user"] + server["used_cpu_sys"]
        return used, stage.cpu_seconds(self.sandbox) or 0.0


def run(quick: bool) -> Report:
    """Settle accounts of each size in the three ways, several times in turn."""
    with stage.redis_server() as redis_url, stage.sandbox_with_pid() as (control, pid):
        stand = Stand(redis_url, control, pid)
        rows = [_row(stand, *size, 1 if quick else ROUNDS) for size in (QUICK_SIZES if quick else SIZES)]
    return Report(
        name="floor",
        title="The smallest engine that keeps the rules: CPU ms of a look that settles its account",
        headings=HEADINGS,
        rows=rows,
        notes=(
            "Floor: the four steps, Redis and the sandbox. Whole look and raw loop are with theirs, too.",
            "Medians of the rounds. Where CPU is the bound, a ratio of it is a ratio of rates.",
        ),
        settings={"rounds": ROUNDS},
    )


def _row(stand: Stand, events: int, accounts: int, rounds: int) -> dict[str, Value]:
    with closing(stand.services()) as source:
        filled = stage.fill(source, stand.control, accounts, events)
        tracked = {a.sub: [s.event for s in source.ledger.pending(a.sub)] for a in filled}
        now = source.ledger.now()
        held = [(source.ledger.account(a.sub), tracked[a.sub], now) for a in filled]
        stage.until(lambda: all(_raw(source, *each) for each in held), "every conference")
        floors, looks, raws = [], [], []
        with _left_out_of_collection():
            for _ in range(rounds):
                raws.append(stand.measure(source, accounts, partial(_next_raw, source, iter(held))))
                floors.append(_settling(stand, filled, tracked, _smallest))
                looks.append(_settling(stand, filled, tracked, _whole))
    floor, look, raw = ([spent.total for spent in found] for found in (floors, looks, raws))
    return {
        "events an account": events,
        **{f"{step} ms": median(spent.steps[step] for spent in floors) for step in STEPS},
        "Redis ms": median(spent.redis for spent in floors),
        "sandbox ms": median(spent.sandbox for spent in floors),
        "floor ms": median(floor),
        "whole look ms": median(look),
        "raw loop ms": median(raw),
        "raw loop : floor": median(least / most for least, most in zip(raw, floor, strict=True)),
        "raw loop : look": median(least / most for least, most in zip(raw, look, strict=True)),
    }


@contextmanager
def _left_out_of_collection() -> Iterator[None]:
    """Leave what is there out of garbage collection, as a worker does before it forks its processes."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _settling(
    stand: Stand,
    filled: Sequence[stage.Filled],
    tracked: dict[str, list[TrackedEvent]],
    settle: Callable[[Services, Spent], None],
) -> Spent:
    """Settle all accounts, in a ledger that is filled before."""
    with closing(stand.services()) as ours:
        for each in filled:
            tokens = {"access_token": each.access_token, "refresh_token": each.refresh_token}
            accept.connect_account(ours, ConnectAccount(sub=each.sub, **tokens))
            ours.ledger.track_all([(each.sub, event) for event in tracked[each.sub]])
        while ours.ledger.promote(1000).due:
            pass
        spent = stand.measure(ours, len(filled), lambda spent: settle(ours, spent))
        if ours.ledger.counters().get("outcome:assigned") != sum(map(len, tracked.values())):
            raise SystemExit("Not every event was settled: the figures would be meaningless.")
    return spent


def _smallest(ours: Services, spent: Spent) -> None:
    ledger, policy = ours.ledger, ours.looker.policy
    with spent.step("claim"):
        lease = _claimed(ours)
    with ours.looker.cronofy.session(lease.account) as session:
        with spent.step("read"):
            readings = _readings(session, [stored.event for stored in lease.events], lease.now)
        with spent.step("diagnose"):
            judged = [judge(lease, stored, readings, frozenset(), policy) for stored in lease.events]
            verdicts = [conclude(lease.sub, each, lease.now, policy) for each in judged]
        with spent.step("commit"):
            changes = [verdict.change for verdict in verdicts]
            ledger.commit(lease, Change(changes, figures=session.figures()))
            session.counted()


def _next_raw(ours: Services, held: Iterator[tuple[Account, list[TrackedEvent], datetime]], _: Spent) -> None:
    _raw(ours, *next(held))


def _whole(ours: Services, _: Spent) -> None:
    guarded_look(ours, _claimed(ours))


def _claimed(ours: Services) -> Lease:
    lease = ours.ledger.claim(LEASE)
    if lease is None:
        raise SystemExit("Fewer accounts were ready than had been made due.")
    return lease


def _raw(ours: Services, account: Account, events: Sequence[TrackedEvent], now: datetime) -> bool:
    """Read an account's events, and tell whether each has its link."""
    with ours.looker.cronofy.session(account) as session:
        readings = _readings(session, events, now)
        session.counted()
    return all(isinstance(seen, Seen) and seen.join_url for seen in readings.sightings.values())


def _readings(session: Session, events: Sequence[TrackedEvent], now: datetime) -> Readings:
    """What one read of all of an account's events shows."""
    [window] = windows_for(events, None, now)
    items = session.read_events({event.key.calendar_id for event in events}, window)
    sightings = {event.key: read_sighting(items[event.key], event.tzid, now) for event in events}
    return Readings(dict(sightings), items, LastRead(session.pages, None))
