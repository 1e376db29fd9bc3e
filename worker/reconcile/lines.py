"""What a look logs: one line per decision, with the ids it concerns."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from worker.cronofy.errors import PUT_OFF, CronofyError
from worker.ledger.leases import Committed
from worker.ledger.outcomes import Outcome
from worker.ledger.records import EventKey, from_ms
from worker.reconcile.failure import Failure
from worker.reconcile.verdict import Verdict

#: The parts of an outcome's detail that may be logged.
_LOGGED = ("profile_id", "mail_id", "reason")

log = structlog.get_logger()


def log_account(outcomes: Iterable[Outcome]) -> None:
    """Log each outcome about an account as a whole."""
    for outcome in outcomes:
        detail = {name: value for name, value in outcome.detail.items() if name in _LOGGED}
        log.info(f"account.{outcome.type.removeprefix('account_')}", sub=outcome.sub, **detail)


def log_verdicts(sub: str, verdicts: Iterable[Verdict], committed: Committed) -> None:
    """Log each verdict, or that its event changed meanwhile and it was not written."""
    for verdict in verdicts:
        after, diagnosis = verdict.after, verdict.diagnosis
        if after.key in committed.changed:
            log_changed(sub, after.key)
            continue
        log.info(
            "event.diagnosed",
            **event_ids(sub, after.key),
            state=diagnosis.state.value,
            cause=diagnosis.cause.value if diagnosis.cause else None,
            certainty=diagnosis.certainty.value,
            remedy=diagnosis.remedy.value,
            outcomes=[outcome.type.value for outcome in verdict.outcomes],
            next_look=from_ms(after.next_look).isoformat(timespec="seconds") if after.next_look else None,
        )


def log_outages(committed: Committed) -> None:
    """Log what many events wait for together from now on, and what they do not wait for any more."""
    for group in committed.begun:
        log.warning("outage.began", **_about(group))
    for group in committed.ended:
        log.warning("outage.ended", **_about(group))


def _about(group: str) -> dict[str, str]:
    what, _, center = group.partition("@")
    cause, _, provider = what.partition(":")
    return {"cause": cause, "provider_name": provider, "data_center": center}


def log_changed(sub: str, key: EventKey) -> None:
    """Log that the event was tracked again or untracked during the look."""
    log.info("event.changed_meanwhile", **event_ids(sub, key))


def log_failures(sub: str, failures: Iterable[Failure]) -> None:
    """Log each event without a verdict."""
    for failure in failures:
        about, fault = event_ids(sub, failure.change.after.key), failure.fault
        if fault is None:
            log.warning("event.unread", **about, reason=failure.reason)
        elif failure.change.dead_letter:
            log.error("event.parked", **about, reason=failure.reason)
        else:
            attempts = failure.change.after.attempts
            log.error("event.failed", **about, attempts=attempts, error=fault.kind, traceback=fault.traceback)


def log_error(sub: str, error: CronofyError) -> None:
    """Log the error that stopped a look or part of it."""
    if isinstance(error, PUT_OFF):
        log.info("look.put_off", sub=sub, reason=error.reason)
    else:
        log.warning("look.failed", sub=sub, reason=error.reason, status=error.status)


def event_ids(sub: str, key: EventKey) -> dict[str, str]:
    """What every line about an event carries."""
    return {"sub": sub, "calendar_id": key.calendar_id, "event_id": key.event_id}
