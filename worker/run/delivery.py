"""Sends what leaves the ledger: emails from the outbox, outcomes to their task."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from worker.bootstrap import Services
from worker.ledger.outbox import QueuedMail
from worker.ledger.outcomes import Outcome, OutcomeStream, OutcomeType
from worker.ledger.vault import VaultError
from worker.mail.compose import read_back, recipient_of
from worker.mail.smtp import MailError

#: How long one task sends emails; the rest wait for the next wake-up.
MAIL_SECONDS = 10.0
LONGEST_MAIL_PAUSE = timedelta(minutes=15)
#: How many outcomes one process delivers in a turn, and how long a turn lasts.
DELIVERED_AT_A_TIME = 500
TURN = timedelta(seconds=30)
#: A process stops well before its turn is over, or the next one would deliver the same outcomes.
DELIVERY_SECONDS = 15.0

log = structlog.get_logger()


def send_mails(services: Services) -> int:
    """Send the due emails in the outbox; returns how many. An email stays until it is sent or refused."""
    sent, end = 0, time.monotonic() + MAIL_SECONDS
    while time.monotonic() < end:
        try:
            mail = services.outbox.take()
        except VaultError as error:
            # Ours to fix. It stays in the outbox, and does not hold up the others.
            log.error("mail.unreadable", reason=str(error))
            continue
        if mail is None:
            break
        sent += _send(services, mail)
    return sent


def _send(services: Services, mail: QueuedMail) -> bool:
    message = read_back(mail.message)
    try:
        services.mailer.send(message, mail.sub)
    except MailError as error:
        if error.permanent:
            reason = f"An email could not be delivered: {error}"
            outcome = Outcome(
                OutcomeType.ESCALATED,
                mail.sub or None,
                services.ledger.now(),
                detail={"reason": reason, "mail_id": mail.mail_id},
            )
            services.outbox.refused(mail.mail_id, outcome, recipient_of(message))
            log.error("mail.refused", mail_id=mail.mail_id, sub=mail.sub, reason=str(error))
            return False
        wait = error.retry_after or min(
            LONGEST_MAIL_PAUSE, timedelta(seconds=5 * 2 ** min(mail.attempts, 12))
        )
        services.outbox.later(mail.mail_id, wait)
        log.warning(
            "mail.put_off",
            sub=mail.sub,
            mail_id=mail.mail_id,
            attempts=mail.attempts,
            reason=str(error),
            seconds=wait.total_seconds(),
        )
        return False
    services.outbox.sent(mail.mail_id)
    log.info("mail.sent", mail_id=mail.mail_id, sub=mail.sub)
    return True


def deliver_outcomes(outcomes: OutcomeStream, publish: Callable[[str], None]) -> int:
    """Call `publish` with each undelivered outcome (JSON), in order; returns how many.

    One process delivers at a time. If it dies, a few outcomes go out twice with the same id, which
    consumers must expect (contract §6).
    """
    if not outcomes.take_turn(TURN):
        return 0
    done, end = 0, time.monotonic() + DELIVERY_SECONDS
    try:
        for entry_id, outcome in outcomes.undelivered(DELIVERED_AT_A_TIME):
            if time.monotonic() > end:
                break
            publish(outcome)
            outcomes.delivered(entry_id)
            done += 1
        return done
    finally:
        outcomes.end_turn()
