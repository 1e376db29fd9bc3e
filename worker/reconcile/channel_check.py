"""Checks an account's notification channel at Cronofy (contract §4, ``RECONCILER_WEBHOOK_URL``).

Each account has one channel of ours. Cronofy does not say when it closes one (after our receiver has not
answered for a day, reference §6c). So we list the channels when the account was connected, when our
address changed, and when nothing was known of the channel for a day. We also list them before opening
one: a lost answer must not create a second channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from redis.exceptions import RedisError

from worker.cronofy.callbacks import Callbacks, account_of
from worker.cronofy.client import Cronofy, Session
from worker.cronofy.errors import PUT_OFF, CronofyError, GrantRefused, Refused, TokenNeeded
from worker.cronofy.wire import OpenChannel
from worker.ledger.records import Account, NotificationChannel

#: After this long without news of it, a channel is checked; a refused one is tried again.
CHECK_AFTER = timedelta(days=1)
#: The wait after a failure, doubled with each further one.
RETRY_AFTER, LONGEST_RETRY = timedelta(minutes=1), timedelta(hours=6)
#: What a check usually costs: listing the channels, and opening one.
CALLS = 2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Channels:
    """Opens, finds and closes channels. One per process; safe to share between threads."""

    cronofy: Cronofy
    callbacks: Callbacks

    def is_due(self, account: Account, now: datetime) -> bool:
        """Whether to check the account's channel once its events are done."""
        channel, seen = account.channel, account.channel_seen
        if channel is None or seen is None:
            return True
        if channel.failures:
            # Its retry is already scheduled.
            return False
        moved = channel.channel_id is not None and not self.callbacks.leads_here(channel.callback_url)
        return moved or now - seen >= CHECK_AFTER

    def check(self, account: Account) -> tuple[NotificationChannel, timedelta | None]:
        """Find or open the account's channel, and close any others of ours.

        Returns the channel to record, and the wait until it must be checked even without the events
        (None: never). Spends none of the reserve, and never waits for budget. Raises GrantRefused,
        TokenNeeded and `PUT_OFF`; the returned channel records any other failure.
        """
        before = account.channel or NotificationChannel(None, self.callbacks.of(account.sub))
        with self.cronofy.session(account, CALLS) as session:
            try:
                found = self._settle(session, account.sub, before)
            except (*PUT_OFF, GrantRefused, TokenNeeded, RedisError):
                raise
            except Refused as error:
                # The plan, scope or kind of token rules it out; the account's events do not need it.
                if before.refused != error.reason:
                    log.warning("channel.refused", sub=account.sub, reason=error.reason, status=error.status)
                return NotificationChannel(None, before.callback_url, refused=error.reason), None
            except CronofyError as error:
                log.warning("channel.failed", sub=account.sub, reason=error.reason, status=error.status)
                return _failed(before)
            except Exception:
                # Otherwise it would be due again at once, forever.
                log.exception("channel.crashed", sub=account.sub)
                return _failed(before)
        return NotificationChannel(found.channel_id, found.callback_url), None

    def close(self, account: Account) -> None:
        """Close the channel of an account about to be forgotten: one try, none if the account is lost.

        If it stays open, its notifications name an unknown account and are dropped.
        """
        channel_id = account.channel.channel_id if account.channel else None
        if channel_id is None or account.lost:
            return
        try:
            with self.cronofy.session(account, urgent=True) as session:
                _close(session, account.sub, channel_id, "account_forgotten")
        except CronofyError as error:
            _left_open(account.sub, channel_id, error)

    def _settle(self, session: Session, sub: str, before: NotificationChannel) -> OpenChannel:
        vault, address = self.cronofy.ledger.vault, self.callbacks.of(sub)
        ours = [
            channel
            for channel in session.channels()
            if channel.channel_id == before.channel_id or account_of(vault, channel.callback_url) == sub
        ]
        # An address that names the account by an older vault key is replaced while we can read it.
        current = [c for c in ours if c.callback_url == address]
        if current:
            # Keep the one we know; failing that, every check keeps the same one.
            kept = min(current, key=lambda c: (c.channel_id != before.channel_id, c.channel_id))
        else:
            kept = OpenChannel(channel_id=session.open_channel(address).channel_id, callback_url=address)
            log.info("channel.opened", sub=sub, channel_id=kept.channel_id, reason=_why(before, ours))
        for other in ours:
            if other.channel_id != kept.channel_id:
                _close(session, sub, other.channel_id, "superseded")
        return kept


def _failed(before: NotificationChannel) -> tuple[NotificationChannel, timedelta]:
    failures = before.failures + 1
    wait = min(LONGEST_RETRY, RETRY_AFTER * 2 ** min(failures - 1, 12))
    return NotificationChannel(before.channel_id, before.callback_url, failures=failures), wait


def _why(before: NotificationChannel, ours: list[OpenChannel]) -> str:
    """Why a channel is opened: there was none yet, our address changed, or Cronofy closed it."""
    if before.channel_id is None:
        return "none_yet"
    return "moved" if any(c.channel_id == before.channel_id for c in ours) else "closed_by_cronofy"


def _left_open(sub: str, channel_id: str, error: CronofyError) -> None:
    log.warning("channel.left_open", sub=sub, channel_id=channel_id, reason=error.reason)


def _close(session: Session, sub: str, channel_id: str, reason: str) -> None:
    try:
        session.close_channel(channel_id)
    except Refused as error:
        _left_open(sub, channel_id, error)
    else:
        log.info("channel.closed", sub=sub, channel_id=channel_id, reason=reason)
