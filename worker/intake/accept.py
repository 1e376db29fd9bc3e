"""What the intake tasks do: write what a caller says into the ledger, then answer.

All are safe to repeat. `connect_account`, `track` and `acknowledge` start something over, so if the broker
delivers their message `again`, they keep what the first delivery started.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from worker.bootstrap import Services
from worker.cronofy.callbacks import account_of
from worker.cronofy.signature import is_signed
from worker.diagnosis.schedule import first_look
from worker.intake import acknowledge as acknowledging
from worker.intake.forget import forget
from worker.intake.payloads import (
    AccountOnly,
    AcknowledgeEvent,
    ConnectAccount,
    OneEvent,
    ReceiveNotification,
    TrackEvent,
)
from worker.intake.push_notifications import (
    GDPR_REQUESTED,
    PROFILE_DISCONNECTED,
    PushNotification,
    read_notification,
)
from worker.ledger.ledger import REPLAYED_AFTER, Connecting, Credentials
from worker.ledger.lookup import events_of
from worker.ledger.outcomes import erasure_requested
from worker.ledger.packing import pack_notice
from worker.ledger.records import EventKey, TrackedEvent, to_ms
from worker.ledger.vault import VaultError

log = structlog.get_logger()


def connect_account(services: Services, account: ConnectAccount, *, again: bool = False) -> bool:
    """Store the account's credentials, and wake it if it was lost or waits for them."""
    if not (again and _holds(services, account)):
        connect_all(services, [account])
    return True


def connect_all(services: Services, accounts: Sequence[ConnectAccount]) -> None:
    """The same for several accounts, in their order."""
    others = [each for each in accounts if services.looker.channels and not _is_next(services, each)]
    services.ledger.connect(*map(_connecting, accounts))
    for account in others:
        services.ledger.check_channel(account.sub)
    for account in accounts:
        log.info("account.stored", sub=account.sub)


def _is_next(services: Services, account: ConnectAccount) -> bool:
    """Whether it only brings a known account's next access token, which has the same channel.

    Other credentials may have another one, or none.
    """
    if account.refresh_token is not None:
        return False
    known = services.ledger.account(account.sub)
    return bool(known.token and known.channel and not known.lost)


def _connecting(account: ConnectAccount) -> Connecting:
    expires_in = None if account.refresh_token else timedelta(seconds=account.expires_in or 0)
    return Connecting(
        account.sub,
        Credentials(account.refresh_token, account.access_token),
        account.data_center,
        account.email,
        account.name,
        expires_in,
        account.locale,
        account.tzid,
    )


def forget_account(services: Services, account: AccountOnly) -> bool:
    """Erase all we know of the account, and close its notification channel if possible."""
    forget(services, account.sub)
    return True


def track(services: Services, tracked: TrackEvent, *, again: bool = False) -> bool:
    """Start watching an event; its first look comes after ``RECHECK_MIN``."""
    known = services.ledger.find(tracked.sub, tracked.key) if again else None
    if known and (known.event.body, known.event.provider_name) == (tracked.event, tracked.provider_name):
        return True
    track_all(services, [tracked])
    return True


def track_all(services: Services, tracked: Sequence[TrackEvent]) -> None:
    """The same for several events, in their order."""
    now = services.ledger.now()
    first = first_look(now, services.looker.policy)
    services.ledger.track_all([(each.sub, _record(each, now, first)) for each in tracked])
    for each in tracked:
        log.info("event.tracked", sub=each.sub, calendar_id=each.key.calendar_id, event_id=each.key.event_id)


def _record(tracked: TrackEvent, now: datetime, first: datetime) -> TrackedEvent:
    return TrackedEvent(
        key=tracked.key,
        body=tracked.event,
        provider_name=tracked.provider_name,
        tracked_at=to_ms(now),
        asked_at=to_ms(now),
        profile_id=tracked.profile_id,
        next_look=to_ms(first),
    )


def untrack(services: Services, event: OneEvent) -> bool:
    """Stop watching an event; true even if it was not watched."""
    services.ledger.untrack(event.sub, event.key)
    log.info("event.untracked", sub=event.sub, calendar_id=event.calendar_id, event_id=event.event_id)
    return True


def acknowledge(services: Services, given: AcknowledgeEvent, *, again: bool = False) -> bool:
    """Somebody answers for an event, or takes that back; false if there is nothing to do so for."""
    ledger, key = services.ledger, given.key
    known = ledger.acknowledgement(given.sub, key) if again else None
    if known and not given.withdraw and (known.by, known.note) == (given.by, given.note):
        return True
    if given.withdraw:
        done = acknowledging.withdraw(ledger, given.sub, key)
    else:
        done = acknowledging.acknowledge(ledger, given.sub, key, given.note, given.until, given.by)
    log.info(
        "event.acknowledged",
        sub=given.sub,
        calendar_id=given.calendar_id,
        event_id=given.event_id,
        by=given.by,
        withdrawn=given.withdraw,
        done=done,
    )
    return done


def receive_notification(
    services: Services, notification: ReceiveNotification
) -> tuple[tuple[str, timedelta], ...] | None:
    """Take a push notification: the events it is about become due now.

    Returns the accounts to look at, each with the wait until then; None if the signature is wrong, or the
    notification came to another's address: such ones are counted, logged and dropped (contract §6).
    """
    secrets = [secret.get_secret_value() for secret in services.settings.cronofy_client_secret]
    if not is_signed(notification.body.encode(), notification.signature, secrets):
        _refuse(services, "bad_signature")
        return None
    push = read_notification(notification.body)
    if _is_misdirected(services, notification, push):
        _refuse(services, "misdirected")
        return None
    calendar_id = notification.calendar_id or push.calendar_id
    event_id = notification.event_id or push.event_id
    about = notification.model_copy(update={"calendar_id": calendar_id, "event_id": event_id})
    accounts = [about.sub] if about.sub else _accounts_of(services, calendar_id)
    due = tuple(sub for sub in accounts if _make_due(services, sub, about, push))
    if push.kind == GDPR_REQUESTED:
        _take_gdpr_request(services, about.sub or _account_named(services, push), push)
    services.ledger.count("notifications:taken")
    log.info(
        "notification.taken",
        sub=about.sub or (due[0] if len(due) == 1 else None),
        calendar_id=calendar_id,
        event_id=event_id,
        kind=push.kind,
        interaction=push.interaction.value if push.interaction else None,
        subtype=push.subtype,
        accounts=len(due),
    )
    if push.only_waits:
        # Nothing can be done about it, and many such come at once: the next sweep takes them in their order.
        return ()
    waits = ((sub, services.ledger.wakeups.after_notification(sub)) for sub in due)
    return tuple((sub, wait) for sub, wait in waits if wait is not None)


def _refuse(services: Services, reason: str) -> None:
    services.ledger.count(f"notifications:{reason}")
    log.warning("notification.refused", reason=reason)


def _is_misdirected(services: Services, notification: ReceiveNotification, push: PushNotification) -> bool:
    """Whether the body, which is signed, names other ids than the address that it came to, which is not."""
    named = {
        (notification.calendar_id, push.calendar_id),
        (notification.event_id, push.event_id),
        (notification.sub, _account_named(services, push)),
    }
    if any(unsigned and signed and unsigned != signed for unsigned, signed in named):
        return True
    owners = _accounts_of(services, push.calendar_id)
    return bool(notification.sub and owners and notification.sub not in owners)


def _account_named(services: Services, push: PushNotification) -> str | None:
    """The account whose channel the body names by our own address."""
    return account_of(services.ledger.vault, push.callback_url or "")


def _holds(services: Services, account: ConnectAccount) -> bool:
    """Whether these credentials are stored, and Cronofy has not refused them."""
    stored = services.ledger.account(account.sub)
    try:
        credentials = services.ledger.open_credentials(stored)
    except VaultError:
        return False
    if stored.lost or credentials is None or credentials.refresh_token != account.refresh_token:
        return False
    # An access token that came with a refresh token may have been replaced by now.
    return account.refresh_token is not None or credentials.access_token == account.access_token


def _accounts_of(services: Services, calendar_id: str | None) -> tuple[str, ...]:
    return services.ledger.accounts_of(calendar_id) if calendar_id else ()


def _make_due(services: Services, sub: str, about: ReceiveNotification, push: PushNotification) -> bool:
    """Make due the events it may mean: without an event id, all of the account's."""
    ledger = services.ledger
    if about.event_id is None:
        # Only one that says when it was sent, lately, shows that the channel is open: others may be replayed.
        is_new = push.said_at is not None and ledger.now() - push.said_at < REPLAYED_AFTER
        early = services.settings.relink_when == "disconnected"
        return ledger.take_notification(
            sub,
            push.channel_id if is_new else None,
            due=push.is_news,
            ask_profiles=early and push.kind == PROFILE_DISCONNECTED,
        )
    if about.calendar_id is not None:
        key, notice = EventKey(about.calendar_id, about.event_id), b""
        # A look believes only what is signed together with the event's ids.
        if push.interaction is not None and key == EventKey(push.calendar_id or "", push.event_id or ""):
            notice = pack_notice(push.interaction.value, push.subtype, to_ms(ledger.now()))
        # One that was closed may have been moved or restored.
        ledger.reopen(sub, key)
        return ledger.nudge(sub, key, notice, about.body)
    named = [each for each in events_of(ledger, sub) if each.event_id == about.event_id]
    taken = [ledger.reopen(sub, each) or ledger.nudge(sub, each) for each in named]
    return any(taken)


def _take_gdpr_request(services: Services, sub: str | None, push: PushNotification) -> None:
    """Report that a user wants to be erased, or erase them; only if it came over the account's own channel.

    Such a body is always the same, so one from a former channel may be a replay.
    """
    channel = services.ledger.account(sub).channel if sub else None
    if sub is None or channel is None or push.channel_id is None or channel.channel_id != push.channel_id:
        log.warning("notification.unproven", sub=sub, kind=push.kind)
        return
    forgotten = services.settings.on_gdpr_request == "forget"
    if forgotten:
        forget(services, sub, erasure_requested(sub, services.ledger.now(), forgotten=True))
    else:
        services.ledger.report_erasure(sub, push.channel_id)
    log.info("account.erasure_requested", sub=sub, forgotten=forgotten)
