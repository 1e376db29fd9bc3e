"""Sends what leaves the ledger: emails from the outbox, outcomes to their task and their URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog

from worker.bootstrap import Services
from worker.ledger.outbox import QueuedMail
from worker.ledger.outcomes import Outcome, OutcomeStream, OutcomeType
from worker.ledger.posts import Post
from worker.ledger.records import to_ms
from worker.ledger.vault import VaultError
from worker.mail.compose import read_back, recipient_of
from worker.mail.smtp import MailError
from worker.ways.signed_post import NotTaken

#: How long one task sends emails; the rest wait for the next wake-up.
MAIL_SECONDS = 10.0
LONGEST_MAIL_PAUSE = timedelta(minutes=15)
#: How many outcomes one process delivers in a turn, and how long a turn lasts.
DELIVERED_AT_A_TIME = 500
TURN = timedelta(seconds=30)
#: A process stops well before its turn is over, or the next one would deliver the same outcomes.
DELIVERY_SECONDS = 15.0
#: The same for posting, where the last one may take long.
POST_TURN = timedelta(seconds=50)
#: After so many failures in a row the receiver is taken for away, and gets a rest.
FAILURES, REST = 5, timedelta(seconds=10)
#: An outcome that was not taken is tried again after this, doubling up to the longest: for about a day.
FIRST_WAIT, LONGEST_WAIT, MOST_TRIES = timedelta(seconds=5), timedelta(hours=1), 33

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
                mail.sub,
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


def post_outcomes(services: Services) -> int:
    """Post what is due to `RECONCILER_OUTCOME_URL`; returns how many were taken.

    One process posts at a time. Those about one event go in order: one that is not taken holds up the later
    ones, and nothing else.
    """
    posts, receiver = services.ledger.posts, services.outcome_receiver
    if receiver is None or not posts.take_turn(POST_TURN):
        return 0
    end, taken, failures = time.monotonic() + DELIVERY_SECONDS, 0, 0
    #: When to try what must go before.
    held: dict[tuple[Any, ...], int] = {}
    try:
        for post in posts.waiting(DELIVERED_AT_A_TIME):
            if time.monotonic() > end or failures >= FAILURES:
                break
            # Even if that is due again by now: it was not in this turn.
            if post.lane in held:
                if post.is_new or post.due < held[post.lane]:
                    posts.later(post, held[post.lane], post.tries)
                continue
            if post.due > to_ms(services.ledger.now()):
                held[post.lane] = post.due
                continue
            try:
                receiver.send(post.outcome["id"], post.text)
            except NotTaken as error:
                failures += 1
                again = _not_taken(services, post, str(error))
                if again is not None:
                    held[post.lane] = again
            else:
                failures = 0
                taken += 1
                posts.taken(post)
        return taken
    finally:
        posts.end_turn(REST if failures >= FAILURES else None)


def _not_taken(services: Services, post: Post, reason: str) -> int | None:
    """Put it off, or give it up after many tries; returns when it is due again, None if never."""
    ledger, tries = services.ledger, post.tries + 1
    about = {"outcome": post.outcome["id"], "sub": post.outcome["sub"], "tries": tries, "reason": reason}
    now = ledger.now()
    if tries >= MOST_TRIES:
        kept = ledger.posts.give_up(post, tries, reason, now)
        log.error("outcome.given_up", **about, kept=kept)
        return None
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries - 1, 20))
    due = to_ms(now + wait)
    ledger.posts.later(post, due, tries)
    log.warning("outcome.put_off", **about, seconds=wait.total_seconds())
    return due
