"""What the intake tasks do: write what a caller says into the ledger, then answer.

All are safe to repeat. `connect_account` and `track` start something over, so if the broker delivers their
message `again`, they keep what the first delivery started.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from worker.bootstrap import Services
from worker.cronofy.signature import is_signed
from worker.diagnosis.schedule import first_look
from worker.intake.payloads import AccountOnly, ConnectAccount, OneEvent, ReceiveNotification, TrackEvent
from worker.intake.push_notifications import PushNotification, read_notification
from worker.ledger.leases import Lease
from worker.ledger.ledger import Credentials, Ledger
from worker.ledger.lookup import events_of
from worker.ledger.packing import pack_notice
from worker.ledger.records import EventKey, TrackedEvent, to_ms

log = structlog.get_logger()


def connect_account(services: Services, account: ConnectAccount, *, again: bool = False) -> bool:
    """Store the account's credentials, and wake it if it was lost or waits for them."""
    if again and _holds(services, account):
        return True
    channels = services.looker.channels
    # Other credentials may have another channel, or none; the next access token of an account has the same.
    known = services.ledger.account(account.sub) if channels and account.refresh_token is None else None
    is_next = known is not None and bool(known.token and known.channel and not known.lost)
    credentials = Credentials(account.refresh_token, account.access_token)
    expires_in = None
    if account.refresh_token is None and account.expires_in is not None:
        expires_in = timedelta(seconds=account.expires_in)
    services.ledger.connect(
        account.sub, credentials, account.data_center, account.email, account.name, expires_in
    )
    if channels is not None and not is_next:
        services.ledger.check_channel(account.sub)
    log.info("account.stored", sub=account.sub)
    return True


def forget_account(services: Services, account: AccountOnly) -> bool:
    """Erase all we know of the account, and close its notification channel if possible."""
    channels = services.looker.channels
    if channels is not None:
        # Skipped, not waited for, while a look is in progress: only the lease's holder may refresh tokens.
        lease = services.ledger.claim_account(account.sub, services.settings.lease)
        if isinstance(lease, Lease):
            channels.close(lease.account)
    services.ledger.forget(account.sub)
    log.info("account.forgotten", sub=account.sub)
    return True


def track(services: Services, tracked: TrackEvent, *, again: bool = False) -> bool:
    """Start watching an event; its first look comes after ``RECHECK_MIN``."""
    key = EventKey(tracked.calendar_id, tracked.event_id)
    known = services.ledger.find(tracked.sub, key) if again else None
    if known and (known.event.body, known.event.provider_name) == (tracked.event, tracked.provider_name):
        return True
    now = services.ledger.now()
    event = TrackedEvent(
        key=key,
        body=tracked.event,
        provider_name=tracked.provider_name,
        tracked_at=to_ms(now),
        asked_at=to_ms(now),
        profile_id=tracked.profile_id,
        next_look=to_ms(first_look(now, services.looker.policy)),
    )
    services.ledger.track(tracked.sub, event)
    log.info("event.tracked", sub=tracked.sub, calendar_id=tracked.calendar_id, event_id=tracked.event_id)
    return True


def untrack(services: Services, event: OneEvent) -> bool:
    """Stop watching an event; true even if it was not watched."""
    services.ledger.untrack(event.sub, EventKey(event.calendar_id, event.event_id))
    log.info("event.untracked", sub=event.sub, calendar_id=event.calendar_id, event_id=event.event_id)
    return True


def receive_notification(
    services: Services, notification: ReceiveNotification
) -> tuple[tuple[str, timedelta], ...] | None:
    """Take a push notification: the events it is about become due now.

    Returns the accounts to look at, each with the wait until then; None if the signature is wrong: such
    notifications are counted, logged and dropped (contract §6).
    """
    secrets = [secret.get_secret_value() for secret in services.settings.cronofy_client_secret]
    if not is_signed(notification.body.encode(), notification.signature, secrets):
        services.ledger.count("notifications:bad_signature")
        log.warning("notification.refused", reason="bad_signature")
        return None
    push = read_notification(notification.body)
    calendar_id = notification.calendar_id or push.calendar_id
    event_id = notification.event_id or push.event_id
    accounts = [notification.sub] if notification.sub else _accounts_of(services, calendar_id)
    due = tuple(sub for sub in accounts if _make_due(services, sub, calendar_id, event_id, push))
    services.ledger.count("notifications:taken")
    interaction = push.interaction.value if push.interaction else None
    log.info(
        "notification.taken",
        sub=notification.sub or (due[0] if len(due) == 1 else None),
        calendar_id=calendar_id,
        event_id=event_id,
        kind=push.kind,
        interaction=interaction,
        subtype=push.subtype,
        accounts=len(due),
    )
    waits = ((sub, services.ledger.wakeups.after_notification(sub)) for sub in due)
    return tuple((sub, wait) for sub, wait in waits if wait is not None)


def _holds(services: Services, account: ConnectAccount) -> bool:
    """Whether these credentials are stored, and Cronofy has not refused them."""
    stored = services.ledger.account(account.sub)
    credentials = services.ledger.open_credentials(stored)
    if stored.lost or credentials is None or credentials.refresh_token != account.refresh_token:
        return False
    # An access token that came with a refresh token may have been replaced by now.
    return account.refresh_token is not None or credentials.access_token == account.access_token


def _accounts_of(services: Services, calendar_id: str | None) -> tuple[str, ...]:
    return services.ledger.accounts_of(calendar_id) if calendar_id else ()


def _make_due(
    services: Services, sub: str, calendar_id: str | None, event_id: str | None, push: PushNotification
) -> bool:
    """Make due the events it may mean: without an event id, all of the account's."""
    ledger = services.ledger
    if event_id is None:
        return ledger.take_notification(sub, push.channel_id, due=push.is_news)
    notice = b""
    if push.interaction is not None:
        notice = pack_notice(push.interaction.value, push.subtype, to_ms(ledger.now()))
    if calendar_id is not None:
        keys = [EventKey(calendar_id, event_id)]
    else:
        keys = [key for key in events_of(ledger, sub) if key.event_id == event_id]
    taken = [_taken_up(ledger, sub, key, notice) for key in keys]
    return any(taken)


def _taken_up(ledger: Ledger, sub: str, key: EventKey, notice: bytes) -> bool:
    """Make the event due, also if it was closed: it may have been moved or restored."""
    ledger.reopen(sub, key)
    return ledger.nudge(sub, key, notice)
