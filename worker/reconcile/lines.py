"""What a look says in the log: one line for each decision, with the ids of what it is about."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from worker.cronofy.errors import PUT_OFF, CronofyError
from worker.ledger.leases import Committed
from worker.ledger.outcomes import Outcome
from worker.ledger.records import EventKey, from_ms
from worker.reconcile.failure import Failure
from worker.reconcile.verdict import Verdict

#: Of an outcome's detail, what may stand in a log.
_LOGGED = ("profile_id", "mail_id", "reason")

log = structlog.get_logger()


def say_account(outcomes: Iterable[Outcome]) -> None:
    """A line for each outcome of an account as a whole."""
    for outcome in outcomes:
        detail = {name: value for name, value in outcome.detail.items() if name in _LOGGED}
        log.info(f"account.{outcome.type.removeprefix('account_')}", sub=outcome.sub, **detail)


def say_verdicts(sub: str, verdicts: Iterable[Verdict], committed: Committed) -> None:
    """A line for each verdict, also for those that could not be written."""
    for verdict in verdicts:
        after, diagnosis = verdict.after, verdict.diagnosis
        if after.key in committed.changed:
            say_changed(sub, after.key)
            continue
        log.info(
            "event.diagnosed",
            **_ids(sub, after.key),
            state=diagnosis.state.value,
            cause=diagnosis.cause.value if diagnosis.cause else None,
            certainty=diagnosis.certainty.value,
            remedy=diagnosis.remedy.value,
            outcomes=[outcome.type.value for outcome in verdict.outcomes],
            next_look=from_ms(after.next_look).isoformat(timespec="seconds") if after.next_look else None,
        )


def say_changed(sub: str, key: EventKey) -> None:
    """The event was tracked again or untracked during the look."""
    log.info("event.changed_meanwhile", **_ids(sub, key))


def say_failures(sub: str, failures: Iterable[Failure]) -> None:
    """A line for each event of which there is no verdict."""
    for failure in failures:
        about, fault = _ids(sub, failure.change.after.key), failure.fault
        if fault is None:
            log.warning("event.unread", **about, reason=failure.reason)
        elif failure.change.dead_letter:
            log.error("event.parked", **about, reason=failure.reason)
        else:
            attempts = failure.change.after.attempts
            log.error("event.failed", **about, attempts=attempts, error=fault.kind, traceback=fault.traceback)


def say_hindrance(sub: str, error: CronofyError) -> None:
    """What kept a look, or a part of it, from its answer."""
    if isinstance(error, PUT_OFF):
        log.info("look.put_off", sub=sub, reason=error.reason)
    else:
        log.warning("look.failed", sub=sub, reason=error.reason, status=error.status)


def _ids(sub: str, key: EventKey) -> dict[str, str]:
    """What every line about an event carries."""
    return {"sub": sub, "calendar_id": key.calendar_id, "event_id": key.event_id}
