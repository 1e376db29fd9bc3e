"""Sends what leaves the ledger: emails from the outbox, outcomes to their task and their URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import structlog

from config.settings import require_outgoing
from worker.bootstrap import Services
from worker.ledger.outbox import QueuedMail
from worker.ledger.outcomes import Outcome, OutcomeStream, OutcomeType
from worker.ledger.posts import Post, Posts
from worker.ledger.records import to_ms
from worker.ledger.refusals import masked
from worker.ledger.vault import VaultError
from worker.mail.compose import read_back, recipient_of
from worker.mail.handover import kind_of, letter_of, owed_by
from worker.mail.smtp import MailError
from worker.ways.letters import Publish, Way, by_task, by_url
from worker.ways.notify import TOLD, Notifier, message_of
from worker.ways.signed_post import NotTaken

#: How long one task sends emails; the rest wait for the next wake-up.
MAIL_SECONDS = 10.0
#: How long an email that could not be sent waits, doubling up to the longest.
FIRST_MAIL_PAUSE, LONGEST_MAIL_PAUSE = timedelta(seconds=5), timedelta(minutes=15)
#: After this many tries in vain an email is late: with these pauses, after an hour.
LATE_AFTER = 11
#: How many outcomes one process delivers in a turn, and how long a turn lasts.
DELIVERED_AT_A_TIME = 500
TURN = timedelta(seconds=30)
#: A process stops well before its turn is over, or the next one would deliver the same outcomes.
DELIVERY_SECONDS = 15.0
#: The same for posting, where the last one may take long.
POST_TURN = timedelta(seconds=50)
#: After this many failures in a row the receiver counts as away, and gets a rest.
FAILURES, REST = 5, timedelta(seconds=10)
#: An outcome that was not taken is tried again after this, doubling up to the longest: for about a day.
FIRST_WAIT, LONGEST_WAIT, MOST_TRIES = timedelta(seconds=5), timedelta(hours=1), 33

log = structlog.get_logger()


def send_mails(services: Services, publish: Publish | None = None) -> int:
    """Send the due emails in the outbox; returns how many. An email stays until it is sent or refused.

    `publish` sends the task that takes letters, if that is how they leave.
    """
    way, sent, end = way_of(services, publish), 0, time.monotonic() + MAIL_SECONDS
    while time.monotonic() < end:
        try:
            mail = services.outbox.take()
        except VaultError as error:
            # Ours to fix. It stays in the outbox, and does not hold up the others.
            log.error("mail.unreadable", reason=str(error))
            continue
        if mail is None:
            break
        sent += _send(services, mail, way)
    return sent


def way_of(services: Services, publish: Publish | None) -> Way | None:
    """How letters to users leave, other than as email; what it lacks on this host is a SettingsError."""
    settings = services.settings
    if settings.user_mail in {"task", "url"}:
        require_outgoing(settings)
    if settings.user_mail == "task" and settings.mail_key and publish:
        return by_task(publish, settings.mail_key.get_secret_value())
    if settings.user_mail == "url" and services.mail_receiver:
        return by_url(services.mail_receiver)
    return None


def _send(services: Services, mail: QueuedMail, way: Way | None) -> bool:
    message, about = read_back(mail.message), {"sub": mail.sub, "mail_id": mail.mail_id}
    to_user = mail.parts is not None
    if mail.parts is not None and services.settings.user_mail == "off":
        detail = owed_by(mail.mail_id, mail.parts)
        services.outbox.owed(
            mail.mail_id, Outcome(OutcomeType.MAIL_OWED, mail.sub, services.ledger.now(), detail=detail)
        )
        log.info("mail.owed", **about, kind=detail["kind"])
        return False
    try:
        if mail.parts is not None and way is not None:
            way(letter_of(mail.mail_id, mail.sub, message, mail.parts))
        else:
            services.mailer.send(message, mail.sub)
            if services.settings.smtp_url is None:
                services.outbox.kept(mail.mail_id)
                log.info("mail.kept", **about)
                return True
    except NotTaken as error:
        return _put_off(services, mail, str(error), None)
    except MailError as error:
        if error.permanent:
            return _refused(services, mail, message, error)
        return _put_off(services, mail, str(error), error.retry_after)
    services.outbox.sent(mail.mail_id)
    log.info("mail.sent", **about, by=services.settings.user_mail if to_user else "smtp")
    return True


def _put_off(services: Services, mail: QueuedMail, reason: str, retry_after: timedelta | None) -> bool:
    wait = retry_after or min(LONGEST_MAIL_PAUSE, FIRST_MAIL_PAUSE * 2 ** min(mail.attempts, 12))
    services.outbox.later(mail.mail_id, wait, reason)
    if mail.attempts == LATE_AFTER:
        services.ledger.count("mail:late")
    about = {"sub": mail.sub, "mail_id": mail.mail_id, "attempts": mail.attempts}
    log.warning("mail.put_off", **about, reason=reason, seconds=wait.total_seconds())
    return False


def _refused(services: Services, mail: QueuedMail, message: EmailMessage, error: MailError) -> bool:
    now, address = services.ledger.now(), recipient_of(message)
    about = {"mail_id": mail.mail_id}
    refused = {"kind": kind_of(mail.parts), "address": masked(address), "reason": str(error), **about}
    reason = f"An email could not be delivered: {error}"
    outcomes = (
        Outcome(OutcomeType.MAIL_REFUSED, mail.sub or None, now, detail=refused),
        Outcome(OutcomeType.ESCALATED, mail.sub or None, now, detail={"reason": reason, **about}),
    )
    services.outbox.refused(mail.mail_id, address, str(error), outcomes)
    log.error("mail.refused", mail_id=mail.mail_id, sub=mail.sub, reason=str(error))
    return False


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
    """Post what is due to `RECONCILER_OUTCOME_URL`; returns how many were taken."""
    receiver = services.outcome_receiver
    if receiver is None:
        return 0
    return _turn(services, services.ledger.posts, lambda post: receiver.send(post.outcome["id"], post.text))


def has_notices(services: Services) -> bool:
    """Whether there is something to tell operators, as far as this host knows where."""
    now = services.ledger.now()
    return any(_notices(services, notifier).has_due(now) for notifier in services.notifiers)


def notify_operators(services: Services) -> int:
    """Tell what is new of incidents to each of `RECONCILER_ESCALATION_URLS`; returns how many were taken."""
    settings, ledger, taken = services.settings, services.ledger, 0
    if settings.dry_run or (services.notifiers and ledger.paused_since() is not None):
        return 0
    end = time.monotonic() + DELIVERY_SECONDS
    for notifier in services.notifiers:
        posts = _notices(services, notifier)

        def send(post: Post, notifier: Notifier = notifier) -> None:
            notifier.send(message_of(post.outcome, settings.board_url))

        with structlog.contextvars.bound_contextvars(service=notifier.service):
            # One that does not answer leaves time for the others.
            taken += _turn(services, posts, send, failures=1, end=end)
        posts.note_when_due()
    return taken


def _notices(services: Services, notifier: Notifier) -> Posts:
    return replace(services.ledger.posts, to=notifier.key, wants=TOLD)


def _turn(
    services: Services,
    posts: Posts,
    send: Callable[[Post], None],
    *,
    failures: int = FAILURES,
    end: float | None = None,
) -> int:
    """Send what is due, until it fails too often in a row; returns how many were taken.

    One process sends at a time. Those about one event go in order: one that is not taken holds up the later
    ones, and nothing else.
    """
    if not posts.take_turn(POST_TURN):
        return 0
    end, taken, failed = end or time.monotonic() + DELIVERY_SECONDS, 0, 0
    #: When to try what must go before.
    held: dict[tuple[Any, ...], int] = {}
    try:
        for post in posts.waiting(DELIVERED_AT_A_TIME):
            if time.monotonic() > end or failed >= failures:
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
                send(post)
            except NotTaken as error:
                failed += 1
                again = _not_taken(services, posts, post, str(error))
                if again is not None:
                    held[post.lane] = again
            else:
                failed = 0
                taken += 1
                posts.taken(post)
        return taken
    finally:
        posts.end_turn(REST if failed >= failures else None)


def _not_taken(services: Services, posts: Posts, post: Post, reason: str) -> int | None:
    """Put it off, or give it up after many tries; returns when it is due again, None if never."""
    ledger, tries = services.ledger, post.tries + 1
    about = {"outcome": post.outcome["id"], "sub": post.outcome["sub"], "tries": tries, "reason": reason}
    now = ledger.now()
    if tries >= MOST_TRIES:
        kept = posts.give_up(post, tries, reason, now)
        log.error("outcome.given_up", **about, kept=kept)
        return None
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries - 1, 20))
    due = to_ms(now + wait)
    posts.later(post, due, tries)
    log.warning("outcome.put_off", **about, seconds=wait.total_seconds())
    return due
