"""What a look says in the log: one line for each decision, with the ids of what it is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import structlog

from worker.ledger.outcomes import Outcome
from worker.ledger.records import EventKey, from_ms
from worker.reconcile.verdict import Verdict

#: Of an outcome's detail, what may stand in a log.
_LOGGED = ("profile_id", "mail_id", "reason")

log = structlog.get_logger()


def say_account(outcomes: Iterable[Outcome]) -> None:
    """A line for each outcome of an account as a whole."""
    for outcome in outcomes:
        detail = {name: value for name, value in outcome.detail.items() if name in _LOGGED}
        log.info(f"account.{outcome.type.removeprefix('account_')}", sub=outcome.sub, **detail)


def say_events(sub: str, verdicts: Iterable[Verdict], changed: Collection[EventKey]) -> None:
    """A line for each judged event; `changed` are those of which nothing was written."""
    for verdict in verdicts:
        if verdict.before.event.key in changed:
            log.info("event.changed_meanwhile", **ids(sub, verdict))
            continue
        diagnosis, next_look = verdict.diagnosis, verdict.after.next_look
        log.info(
            "event.diagnosed",
            **ids(sub, verdict),
            state=diagnosis.state.value,
            cause=diagnosis.cause.value if diagnosis.cause else None,
            certainty=diagnosis.certainty.value,
            remedy=diagnosis.remedy.value,
            outcomes=[outcome.type.value for outcome in verdict.outcomes],
            next_look=from_ms(next_look).isoformat(timespec="seconds") if next_look else None,
        )


def say_unread(sub: str, verdicts: Iterable[Verdict]) -> None:
    """A line for each event that a look could not tell of, though it read others."""
    for verdict in verdicts:
        log.warning("event.unread", **ids(sub, verdict), reason=" ".join(verdict.diagnosis.evidence))


def ids(sub: str, verdict: Verdict) -> dict[str, str]:
    """What every line about an event carries."""
    calendar_id, event_id = verdict.key
    return {"sub": sub, "calendar_id": calendar_id, "event_id": event_id}
