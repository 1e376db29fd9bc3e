"""Runs looks: whatever is ready, one account at once, or one event's question without any change."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from worker.bootstrap import THREADS, Services
from worker.cronofy.errors import CronofyError, OutOfBudget
from worker.ledger.leases import Held, Lease, LeaseLost
from worker.ledger.records import DATA_CENTERS, EventKey
from worker.outage import why
from worker.reconcile.answer import live_answer, recorded_answer, with_note
from worker.reconcile.failure import is_alone, is_from_outside, revived, unforeseen
from worker.reconcile.look import LookResult

#: A batch takes up no more accounts after so many seconds: wake-ups come with every sweep, and a
#: short task leaves its process free for urgent work.
BATCH_SECONDS = 5.0

#: Looks that the budget broke off are woken again no sooner: a wake-up is to be worth its while.
SHORTEST_REST = timedelta(milliseconds=500)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch came to: how many accounts it looked at, and what the budget refused."""

    looked_at: int
    #: When there may be room in the budget again, where a lack of it ended the batch.
    resume_after: timedelta | None = None
    #: Accounts that are to be looked at by a task of their own.
    alone: tuple[str, ...] = ()


def look_at_ready(services: Services, most: int) -> BatchResult:
    """Look at up to `most` ready accounts, soonest meeting first, several at a time.

    Ends early when none is ready, when the budget is spent, or after `BATCH_SECONDS`. Each account
    stands alone: its failure is its own.
    """
    batch, threads = _Batch(services, most), min(THREADS, most)
    with ThreadPoolExecutor(threads, thread_name_prefix="look") as pool:
        # Each with a copy of this context, so that its log lines are bound to the task as ours are.
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
        self.resume_after: timedelta | None = None
        self.alone: list[str] = []

    def work(self) -> int:
        """Claim and look until the batch is over; returns how many accounts that were."""
        ledger, lease_for = self._services.ledger, self._services.settings.lease
        done = 0
        while self._left > 0 and self._centers and time.monotonic() < self._end:
            self._left -= 1
            lease = ledger.claim(lease_for, self._centers)
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
        """What one account of an origin was refused, all would be."""
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
    """A look that harms no other, even if its failure cannot be written: its lease expires then.

    Raises RedisError while Redis is away or takes no writes: that is no failure of the look.
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
            return LookResult(failure=unforeseen(error))


def look_at_account(services: Services, sub: str) -> BatchResult:
    """Look at what is due of one account, as soon as nobody else does."""
    lease = _acquire(services, sub)
    if lease is None:
        return BatchResult(0)
    put_off = guarded_look(services, lease, urgent=True).put_off
    return BatchResult(0 if put_off else 1, _rest_after(put_off))


def reconcile_event(services: Services, sub: str, key: EventKey) -> dict[str, Any] | None:
    """Re-read, diagnose and act on one event now; the diagnosis, or None where it is not tracked.

    A parked one is taken up again: even if it cannot be looked at now, it is due from here on.
    """
    stored = services.ledger.find_pending(sub, key)
    if stored and stored.event.parked:
        event = revived(stored.event, services.ledger.now(), services.settings.max_attempts)
        services.ledger.revive(sub, stored, event)
        log.info("event.revived", sub=sub, calendar_id=key.calendar_id, event_id=key.event_id)
    answers = _reconcile(services, sub, [key])
    return answers[0] if answers else None


def reconcile_account(services: Services, sub: str) -> list[dict[str, Any]]:
    """The same for all pending events of an account but those that are parked."""
    pending = services.ledger.pending(sub)
    return _reconcile(services, sub, [stored.event.key for stored in pending if not stored.event.parked])


@dataclass(frozen=True, slots=True)
class Explained:
    """Why an event stands as it does, as the contract (§1) writes it."""

    answer: dict[str, Any]
    #: It was read at Cronofy just now; else it is from the ledger.
    read_anew: bool = False


def explain(services: Services, sub: str, key: EventKey) -> Explained | None:
    """Why the event stands as it does, by a live read; changes nothing. None where it is not tracked.

    A settled event, a parked one and one of a lost account is answered from the ledger, and so is one
    that Cronofy cannot be asked about now; the answer says so.
    """
    ledger = services.ledger
    stored = ledger.find_pending(sub, key)
    account = ledger.account(sub)
    if stored is None or account.lost or stored.event.parked:
        stored = stored or ledger.find(sub, key)
        return Explained(recorded_answer(sub, stored.event, account.lost)) if stored else None
    event = stored.event

    def recorded(note: str) -> Explained:
        return Explained(with_note(recorded_answer(sub, event, False), note))

    lease = _acquire(services, sub)
    if lease is None:
        return recorded("A look at this account is under way.")
    try:
        present = next((s for s in lease.events if s.event.key == key), None)
        if present is None or lease.account.lost:
            # Meanwhile it was settled or untracked, or the account was lost.
            present = present or ledger.find(sub, key)
            return Explained(recorded_answer(sub, present.event, lease.account.lost)) if present else None
        diagnosis = services.looker.diagnose_only(lease, present)
        return Explained(live_answer(sub, present.event, diagnosis), read_anew=True)
    except CronofyError as error:
        return recorded(f"Not read anew: {error.reason}")
    except Exception as error:
        if is_from_outside(error):
            raise
        log.exception("explain.failed", sub=sub, calendar_id=key.calendar_id, event_id=key.event_id)
        return recorded(f"Not read anew: {unforeseen(error)}")
    finally:
        ledger.release(lease)


def _reconcile(services: Services, sub: str, keys: Collection[EventKey]) -> list[dict[str, Any]]:
    """Look at these events now; an account that stays in other hands is due again at once."""
    ledger = services.ledger
    pending = [key for key in keys if ledger.find_pending(sub, key)]
    note = None
    if pending and not ledger.account(sub).lost:
        lease = _acquire(services, sub)
        if lease is None:
            for key in pending:
                ledger.nudge(sub, key)
            note = "A look at this account is under way; this event is looked at right after it."
        else:
            result = guarded_look(services, lease, pending, urgent=True)
            note = f"Not read anew: {result.failure}" if result.failure else None
            if result.put_off:
                for key in pending:
                    ledger.nudge(sub, key)
    lost = ledger.account(sub).lost
    found = [stored for key in keys if (stored := ledger.find(sub, key))]
    answers = [recorded_answer(sub, stored.event, lost) for stored in found]
    return [with_note(answer, note) for answer in answers] if note else answers


def _acquire(services: Services, sub: str) -> Lease | None:
    """Lease this account, waiting for whoever holds it as long as the task's time limit leaves."""
    settings = services.settings
    spare = settings.task_time_limit - settings.look_timeout - timedelta(seconds=2)
    end = time.monotonic() + max(0.0, spare.total_seconds())
    while True:
        claimed = services.ledger.claim_account(sub, settings.lease)
        if isinstance(claimed, Lease):
            return claimed
        left = timedelta(seconds=end - time.monotonic())
        if left <= timedelta(0):
            return None
        services.ledger.wait_until_freed(sub, min(left, _until(claimed)))


def _until(held: Held) -> timedelta:
    return held.remaining + timedelta(milliseconds=10)
