"""The sweep and the looks that it wakes; and looks at one account now, or at one event, changing nothing."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog

from worker.bootstrap import THREADS, Services
from worker.broker.outages import why
from worker.cronofy.errors import CronofyError, OutOfBudget
from worker.diagnosis.model import Remedy, State
from worker.ledger.leases import Lease, LeaseLost
from worker.ledger.ledger import SOON
from worker.ledger.records import DATA_CENTERS, FLEET, EventKey
from worker.reconcile.answer import Explained, live_answer, recorded_answer
from worker.reconcile.failure import is_alone, is_from_outside, revived, unexpected
from worker.reconcile.look import LookResult

#: How many accounts one batch looks at, at most.
BATCH_SIZE = 100
#: More batches than this would only lengthen the queue; the next sweep comes soon.
MOST_BATCHES = 8
#: How many accounts one script moves: it blocks the server while it runs.
MOVED_AT_A_TIME = 300
#: How many one sweep moves at most.
MOST_MOVED = 30_000
#: After this, a batch takes up no more accounts: every sweep wakes new ones, and a short task leaves its
#: process free for urgent work.
BATCH_SECONDS = 5.0
#: Looks that the budget broke off are woken no sooner than this, so that a wake-up is worth it.
SHORTEST_REST = timedelta(milliseconds=500)

log = structlog.get_logger()


def sweep(services: Services) -> int:
    """Move what is due to ready and return how many batches of looks to wake.

    Does nothing and returns 0 if another sweep took this tick: any number of beats is safe.
    """
    ledger = services.ledger
    if not ledger.wakeups.take_sweep(services.settings.sweep_every):
        return 0
    _note_trouble(services)
    ledger.directory.catch_up()
    for _ in range(MOST_MOVED // MOVED_AT_A_TIME):
        if ledger.see_to_outages(MOVED_AT_A_TIME, services.settings.recheck_min) < MOVED_AT_A_TIME:
            break
    moved = expired = 0
    ready: Mapping[str, int] = {}
    while moved + expired < MOST_MOVED:
        promotion = ledger.promote(MOVED_AT_A_TIME)
        moved, expired, ready = moved + promotion.due, expired + promotion.expired, promotion.ready
        if promotion.due < MOVED_AT_A_TIME and promotion.expired < MOVED_AT_A_TIME:
            break
    payable = _payable(services, ready)
    if any(ready.values()) or expired:
        log.info("sweep.done", due=moved, expired_leases=expired, ready=sum(ready.values()), payable=payable)
    return min(MOST_BATCHES, math.ceil(payable / BATCH_SIZE))


def _note_trouble(services: Services) -> None:
    """Note what keeps looks from being made, once for each origin: for the first of its data centres."""
    ledger, cronofy = services.ledger, services.looker.cronofy
    known = ledger.outages()
    for origin, center in {cronofy.origin(center): center for center in reversed(DATA_CENTERS)}.items():
        kind = cronofy.budget(origin).trouble()
        for each in FLEET:
            if (each == kind) != (f"{each}@{center}" in known):
                ledger.note_trouble(each, center, is_on=each == kind)


def _payable(services: Services, ready: Mapping[str, int]) -> int:
    """How many of the ready accounts the budget can pay for before the next sweep, at most.

    Data centres with the same origin share its budget.
    """
    ledger, cronofy, policy = services.ledger, services.looker.cronofy, services.looker.policy
    # Near the start of an event its look may spend the reserve.
    has_urgent = bool(policy.fallback) and any(ready.values()) and ledger.paused_since() is None
    wanted: Counter[str] = Counter()
    urgent: Counter[str] = Counter()
    for center, accounts in ready.items():
        if accounts:
            wanted[cronofy.origin(center)] += accounts
        if accounts and has_urgent:
            urgent[cronofy.origin(center)] += ledger.ready_before(center, policy.fallback_before)
    every = services.settings.sweep_every
    return sum(
        min(accounts, max(urgent[origin], cronofy.budget(origin).room(every)))
        for origin, accounts in wanted.items()
    )


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a batch: how many accounts it looked at, and what it left."""

    looked_at: int
    #: When there may be room in the budget again, if a lack of it ended the batch.
    resume_after: timedelta | None = None
    #: Accounts to look at in a task of their own.
    alone: tuple[str, ...] = ()


def look_at_ready(services: Services, most: int) -> BatchResult:
    """Look at up to `most` ready accounts, soonest meeting first, several at a time.

    Ends early when none is ready, when the budget is spent, or after `BATCH_SECONDS`. A failure at one
    account does not affect the others.
    """
    batch, threads = _Batch(services, most), min(THREADS, most)
    with ThreadPoolExecutor(threads, thread_name_prefix="look") as pool:
        # Each gets a copy of this context, so that its log lines name the task too.
        working = [pool.submit(copy_context().run, batch.work) for _ in range(threads)]
        looked_at = sum(work.result() for work in working)
    return BatchResult(looked_at, batch.resume_after, tuple(batch.alone))


class _Batch:
    """What the threads of one batch share."""

    def __init__(self, services: Services, most: int) -> None:
        self._services = services
        self._left = most
        self._end = time.monotonic() + BATCH_SECONDS
        self._centers: tuple[str, ...] = DATA_CENTERS
        policy = services.looker.policy
        # The last resort needs its time.
        self._soon = max(SOON, policy.fallback_before) if policy.fallback else SOON
        self.resume_after: timedelta | None = None
        self.alone: list[str] = []

    def work(self) -> int:
        """Claim and look until the batch is over; returns how many accounts were looked at."""
        ledger, lease_for = self._services.ledger, self._services.settings.lease
        done = 0
        while self._left > 0 and self._centers and time.monotonic() < self._end:
            self._left -= 1
            lease = ledger.claim(lease_for, self._centers, self._soon)
            if lease is None:
                self._left = 0
                break
            if is_alone(lease):
                ledger.hand_over(lease, lease_for)
                self.alone.append(lease.sub)
                continue
            result = guarded_look(self._services, lease)
            if result.put_off:
                self._close(lease.account.data_center, result.put_off)
            else:
                done += 1
        return done

    def _close(self, center: str, put_off: CronofyError) -> None:
        """Skip the centres of an origin that put off one account: it would put off all of them."""
        origin = self._services.looker.cronofy.origin
        self._centers = tuple(each for each in self._centers if origin(each) != origin(center))
        rest = _rest_after(put_off)
        if rest:
            self.resume_after = min(self.resume_after or rest, rest)


def _rest_after(put_off: CronofyError | None) -> timedelta | None:
    """When there may be room in the budget again, if a lack of it put the look off."""
    if isinstance(put_off, OutOfBudget) and put_off.spent and put_off.retry_after:
        return max(put_off.retry_after, SHORTEST_REST)
    return None


def guarded_look(
    services: Services, lease: Lease, forced: Collection[EventKey] = (), *, urgent: bool = False
) -> LookResult:
    """Look without harming other accounts: if even the failure cannot be written, the lease expires.

    Raises RedisError while Redis is away or takes no writes: that is not a failure of the look.
    """
    with structlog.contextvars.bound_contextvars(sub=lease.sub):
        try:
            return services.looker.look(lease, forced, urgent=urgent)
        except LeaseLost:
            log.warning("look.lease_lost", reason="expired")
            return LookResult()
        except Exception as error:
            if why(error):
                raise
            log.exception("look.lease_left", reason=type(error).__name__)
            return LookResult(failure=unexpected(error))


def look_at_account(services: Services, sub: str) -> BatchResult:
    """Look at the due events of one account, once nobody else holds it."""
    lease = acquire(services, sub)
    if lease is None:
        return BatchResult(0)
    put_off = guarded_look(services, lease, urgent=True).put_off
    return BatchResult(0 if put_off else 1, _rest_after(put_off))


def reconcile_event(services: Services, sub: str, key: EventKey) -> dict[str, Any] | None:
    """Re-read, diagnose and act on one event now; returns the diagnosis, or None if it is not tracked.

    A parked or closed event is taken up again: even if it cannot be looked at now, it is due from now on.
    """
    if not services.ledger.account(sub).lost:
        services.ledger.reopen(sub, key)
    stored = services.ledger.find_pending(sub, key)
    if stored and stored.event.parked:
        event = revived(stored.event, services.ledger.now(), services.settings.max_attempts)
        services.ledger.take_up(sub, stored, event)
        log.info("event.revived", sub=sub, calendar_id=key.calendar_id, event_id=key.event_id)
    answers = _reconcile(services, sub, [key])
    return answers[0] if answers else None


def reconcile_account(services: Services, sub: str) -> list[dict[str, Any]]:
    """The same for all of an account's pending events that are not parked."""
    pending = services.ledger.pending(sub)
    return _reconcile(services, sub, [stored.event.key for stored in pending if not stored.event.parked])


def explain(services: Services, sub: str, key: EventKey) -> Explained | None:
    """Diagnose the event by a live read, changing nothing; None if it is not tracked.

    An event that is assigned, parked or of a lost account is answered from the ledger. So is one that cannot
    be read at Cronofy now; the answer then says so. A closed one that is to happen after all is taken up.
    """
    ledger = services.ledger

    def recorded(note: str | None = None) -> Explained | None:
        answers = recorded_answers(services, sub, [key], note)
        return Explained(answers[0]) if answers else None

    stored = ledger.find_pending(sub, key) or ledger.find_closed(sub, key)
    if stored is None or ledger.account(sub).lost or stored.event.parked:
        return recorded()
    lease = acquire(services, sub)
    if lease is None:
        return recorded("Another look at this account is in progress.")
    try:
        present = next((s for s in lease.events if s.event.key == key), None)
        if present is None and (closed := ledger.find_closed(sub, key)):
            present = replace(closed, event=closed.event.reopened(lease.now))
        if present is None or lease.account.lost:
            # It was settled or untracked, or the account was lost, meanwhile.
            return recorded()
        diagnosis = services.looker.diagnose_only(lease, present)
        if diagnosis.state is not State.CLOSED and diagnosis.remedy is not Remedy.CLOSE:
            ledger.reopen(sub, key)
        return Explained(live_answer(sub, present.event, diagnosis), live=True)
    except CronofyError as error:
        return recorded(f"Not re-read: {error.reason}")
    except Exception as error:
        if is_from_outside(error):
            raise
        log.exception("explain.failed", sub=sub, calendar_id=key.calendar_id, event_id=key.event_id)
        return recorded(f"Not re-read: {unexpected(error)}")
    finally:
        ledger.release(lease)


def _reconcile(services: Services, sub: str, keys: Collection[EventKey]) -> list[dict[str, Any]]:
    """Look at these events now; if someone else keeps the account leased, make them due at once."""
    ledger = services.ledger
    pending = [key for key in keys if ledger.find_pending(sub, key)]
    note = None
    if pending and not ledger.account(sub).lost:
        lease = acquire(services, sub)
        if lease is None:
            for key in pending:
                ledger.nudge(sub, key)
            note = "Another look at this account is in progress; this event follows right after it."
        else:
            failure = look_now(services, lease, pending)
            note = f"Not re-read: {failure}" if failure else None
    return recorded_answers(services, sub, keys, note)


def look_now(services: Services, lease: Lease, keys: Collection[EventKey]) -> str | None:
    """Look at these events and end the lease; why that failed, if it did. What was put off stays due."""
    result = guarded_look(services, lease, keys, urgent=True)
    if result.put_off:
        for key in keys:
            services.ledger.nudge(lease.sub, key)
    return result.failure


def recorded_answers(
    services: Services, sub: str, keys: Collection[EventKey], note: str | None = None
) -> list[dict[str, Any]]:
    """The diagnoses of these events as contract JSON (§1), from the ledger; `note` is one more evidence."""
    lost = services.ledger.account(sub).lost
    found = [stored for key in keys if (stored := services.ledger.find(sub, key))]
    answers = [recorded_answer(sub, stored.event, lost) for stored in found]
    for answer in answers if note else ():
        answer["evidence"] = [*answer["evidence"], note]
    return answers


def acquire(services: Services, sub: str, patience: timedelta | None = None) -> Lease | None:
    """Lease this account, waiting for its holder; by default as long as the task's time limit allows."""
    settings = services.settings
    spare = settings.task_time_limit - settings.look_timeout - timedelta(seconds=2)
    end = time.monotonic() + max(0.0, (patience or spare).total_seconds())
    while True:
        claimed = services.ledger.claim_account(sub, settings.lease)
        if isinstance(claimed, Lease):
            return claimed
        left = timedelta(seconds=end - time.monotonic())
        if left <= timedelta(0):
            return None
        services.ledger.wait_until_freed(sub, min(left, claimed.remaining + timedelta(milliseconds=10)))
