"""Sees to an account's notification channel at Cronofy (contract §4, ``RECONCILER_WEBHOOK_URL``).

An account has one channel of ours. Cronofy tells nobody when it closes one (after a day in which our
receiver did not answer, reference §6c), so the list is asked for where the account was connected anew,
where the address is another, and where nothing was known of the channel for a day. It is asked before
a channel is opened, too: an answer that was lost must make no second one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from redis.exceptions import RedisError

from worker.cronofy.callbacks import Callbacks
from worker.cronofy.client import Cronofy, Session
from worker.cronofy.errors import PUT_OFF, CronofyError, GrantRefused, Refused
from worker.cronofy.wire import OpenChannel
from worker.ledger.leases import Lease
from worker.ledger.ledger import Ledger
from worker.ledger.records import Account, NotificationChannel, to_ms

#: A channel over which nothing came for so long is looked for at Cronofy; a refused one is tried again.
CHECK_AFTER = timedelta(days=1)
#: After a failure, doubled for each further one.
RETRY_AFTER, LONGEST_RETRY = timedelta(minutes=1), timedelta(hours=6)
#: The calls that seeing to a channel mostly costs: the list, and opening one.
CALLS = 2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Channels:
    """Opens, finds and closes channels. One per process; safe to share between threads."""

    cronofy: Cronofy
    callbacks: Callbacks

    def is_due(self, account: Account, now: datetime) -> bool:
        """Whether the account's channel is to be seen to once its events are served."""
        channel, seen = account.channel, account.channel_seen
        if channel is None or seen is None:
            return True
        if channel.failures:
            # It has a time of its own.
            return False
        moved = channel.channel_id is not None and not self.callbacks.leads_here(channel.callback_url)
        return moved or now - seen >= CHECK_AFTER

    def check(self, account: Account) -> tuple[NotificationChannel, timedelta | None]:
        """Find the account's channel or open it, and close what other ones of ours there are.

        Returns what to keep of it, and when to see to it again for its own sake (None: not). No
        call enters the reserve, and none waits for room in the budget. Raises GrantRefused and what
        is `PUT_OFF`; of any other failure the returned channel speaks.
        """
        before = account.channel or NotificationChannel(None, self.callbacks.of(account.sub))
        with self.cronofy.session(account, CALLS) as session:
            try:
                found = self._settle(session, account.sub, before)
            except (*PUT_OFF, GrantRefused):
                raise
            except Refused as error:
                # By plan, scope or kind of token: the account's events are served all the same.
                if before.refused != error.reason:
                    log.warning("channel.refused", sub=account.sub, reason=error.reason, status=error.status)
                return NotificationChannel(None, before.callback_url, refused=error.reason), None
            except CronofyError as error:
                log.warning("channel.failed", sub=account.sub, reason=error.reason, status=error.status)
                return _failed(before)
            except RedisError:
                raise
            except Exception:
                # Else it would be due again at once, and for ever.
                log.exception("channel.crashed", sub=account.sub)
                return _failed(before)
        return NotificationChannel(found.channel_id, found.callback_url), None

    def close(self, account: Account) -> None:
        """Close the channel of an account that is to be forgotten; one try, and none where it is lost.

        Where it stays open, what comes over it names an account that nobody knows, and is dropped.
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
        listed = session.channels()
        ours = [c for c in listed if c.channel_id == before.channel_id or self._names(c, sub)]
        current = [c for c in ours if self.callbacks.leads_here(c.callback_url) and self._names(c, sub)]
        # Of two the one that is known stays, and else any look keeps the same.
        current.sort(key=lambda c: (c.channel_id != before.channel_id, c.channel_id))
        if current:
            kept = current[0]
        else:
            address = self.callbacks.of(sub)
            kept = OpenChannel(channel_id=session.open_channel(address).channel_id, callback_url=address)
            log.info("channel.opened", sub=sub, channel_id=kept.channel_id, reason=_why(before, ours))
        for other in ours:
            if other.channel_id != kept.channel_id:
                try:
                    _close(session, sub, other.channel_id, "superseded")
                except Refused as error:
                    _left_open(sub, other.channel_id, error)
        return kept

    def _names(self, channel: OpenChannel, sub: str) -> bool:
        return self.callbacks.account_of(channel.callback_url) == sub


def check_channel(channels: Channels | None, ledger: Ledger, lease: Lease) -> CronofyError | None:
    """See to the account's channel if that is due, and end the lease; returns what put it off, if anything.

    Raises GrantRefused, with the lease still held.
    """
    due = lease.account.channel_due
    if due is None or due > to_ms(lease.now):
        ledger.release(lease)
        return None
    if channels is None:
        # The setting is gone, or not this process's; whoever has it finds out at the events' next look.
        ledger.keep_channel(lease, None, None)
        return None
    try:
        channel, again = channels.check(lease.account)
    except PUT_OFF as error:
        ledger.release(lease)
        log.info("channel.put_off", sub=lease.sub, reason=error.reason)
        return error
    ledger.keep_channel(lease, channel, again)
    return None


def _failed(before: NotificationChannel) -> tuple[NotificationChannel, timedelta]:
    failures = before.failures + 1
    wait = min(LONGEST_RETRY, RETRY_AFTER * 2 ** min(failures - 1, 12))
    return NotificationChannel(before.channel_id, before.callback_url, failures=failures), wait


def _why(before: NotificationChannel, ours: list[OpenChannel]) -> str:
    """Why a channel is opened: there never was one, Cronofy closed it, or it led elsewhere."""
    if before.channel_id is None:
        return "none_yet"
    return "moved" if any(c.channel_id == before.channel_id for c in ours) else "closed_by_cronofy"


def _left_open(sub: str, channel_id: str, error: CronofyError) -> None:
    log.warning("channel.left_open", sub=sub, channel_id=channel_id, reason=error.reason)


def _close(session: Session, sub: str, channel_id: str, reason: str) -> None:
    session.close_channel(channel_id)
    log.info("channel.closed", sub=sub, channel_id=channel_id, reason=reason)
