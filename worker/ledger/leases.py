"""Who does what: a lease is the right to look at one account, a wake-up one process's to send a message.

Here is also what a look may change when it ends. A lost wake-up costs little: the next sweep does the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from redis import Redis

from worker.diagnosis.model import Cause
from worker.ledger.connection import server_time
from worker.ledger.dead_letters import DeadLetter
from worker.ledger.keys import Keys, Scripts
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.packing import Damaged, pack_event, stored_as, unpack_acknowledgement
from worker.ledger.records import (
    FLEET,
    AccessToken,
    Account,
    Acknowledgement,
    Choice,
    Episode,
    EventKey,
    Mailed,
    Memo,
    NotificationChannel,
    Stored,
    TrackedEvent,
    in_ms,
    to_ms,
)

#: Notifications about an account within this time share their looks.
WAKE_WINDOW = timedelta(seconds=1.5)
#: The longest that a wake-up waits. An urgent look that the budget refused is retried at least this often.
LONGEST_WAKE = timedelta(seconds=5)
#: The header that says until when a wake-up is of use, in ms of the server's clock.
VALID_UNTIL = "reconciler_valid_until"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to look at an account, until it is committed or released, or the lease expires."""

    sub: str
    token: str
    #: The ledger's time of the claim.
    now: datetime
    account: Account
    events: tuple[Stored, ...]
    #: What notifications said about them since their last look, by field.
    notices: Mapping[bytes, bytes] = field(default_factory=dict)
    #: Claims in a row before this one that no look ended: its process died, or lost Redis.
    unended: int = 0
    #: Stored values that are not records.
    damaged: tuple[Damaged, ...] = ()
    #: Settled events that were closed as past within a day; one may have been moved to the future.
    past: tuple[Stored, ...] = ()
    #: Who answers for its events (packed), by field.
    acknowledged: Mapping[bytes, bytes] = field(default_factory=dict)
    #: What is going on for many: CAUSE:PROVIDER@CENTER, or KIND@CENTER for the fleet, and since when.
    outages: Mapping[str, datetime] = field(default_factory=dict)

    def outage(self, cause: Cause | None, provider: str | None) -> datetime | None:
        """Since when many events of this account's data centre wait for this together, if they do."""
        return self.outages.get(f"{cause}:{provider}@{self.account.data_center}") if self.outages else None

    @property
    def fleet_in_trouble(self) -> bool:
        """Whether looks fail for reasons that concern the whole fleet, at any data centre."""
        return any(name.partition("@")[0] in FLEET for name in self.outages)

    def acknowledgement(self, key: EventKey) -> Acknowledgement | None:
        """Who answers for this event, if anybody."""
        return unpack_acknowledgement(self.acknowledged.get(key.field)) if self.acknowledged else None


@dataclass(frozen=True, slots=True)
class Held:
    """Someone else holds the account, for no longer than this."""

    remaining: timedelta


@dataclass(frozen=True)
class EventChange:
    """A look's change to one event; refused if the event changed since it was claimed."""

    before: Stored
    after: TrackedEvent
    settle: bool = False
    outcomes: tuple[Outcome, ...] = ()
    #: The look took account of the notice about the event.
    notice_taken: bool = False
    #: Kept in the same step.
    dead_letter: DeadLetter | None = None
    #: The field of a damaged record, which moves to the dead letter.
    dropped: bytes | None = None
    #: Nobody answers for the event any more: the acknowledgement is over.
    unacknowledged: bool = False
    #: It waits for an outage together with many others: CAUSE:PROVIDER of that.
    held: str | None = None
    #: What the look newly says of its service, as CAUSE:PROVIDER; and what it shows to be over.
    report: str | None = None
    works: str | None = None

    @property
    def field(self) -> bytes:
        return self.dropped or self.before.event.key.field

    @cached_property
    def value(self) -> bytes:
        """The value to store. Raises if the record cannot be packed."""
        if self.dropped:
            return b""
        same = self.after.body is self.before.event.body
        return pack_event(self.after, self.before.body if same else b"")

    @property
    def news(self) -> Literal["new", "again"] | None:
        """Whether a person is to be told of the event: for the first time, or again.

        Again if there is something else to tell, nobody answers for it any more, or a choice did not help.
        """
        if self.dropped:
            return "new"
        before, group = self.before.event, self.after.group
        if group is None:
            return "new" if self.held else None
        if before.group == group and not self.unacknowledged:
            return "again" if any(each.type is OutcomeType.ESCALATED for each in self.outcomes) else None
        chosen = any(what == "chosen" for _, what, _ in before.history)
        return "again" if chosen or self.unacknowledged else "new"

    @property
    def stored(self) -> Stored:
        """The record once this change is written."""
        return stored_as(self.after, self.value)


@dataclass(frozen=True, slots=True)
class Mail:
    """A composed email for the outbox; sealed there, since it may hold a secret link."""

    mail_id: str
    message: bytes = field(repr=False)
    #: When to send it; None for now.
    due: datetime | None = None
    #: What a letter to a user was composed of; None for an email to the operator.
    parts: bytes | None = field(default=None, repr=False)
    #: Which letter it is; empty for an email to the operator.
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that one look at an account changes."""

    events: Sequence[EventChange] = ()
    memo: Memo | None = None
    profile_names: Mapping[str, str] | None = None
    #: The episodes of connect emails that go on, if they change.
    connects: Mapping[str, Episode] | None = None
    mailed: Mailed | None = None
    #: All that stand, if they change.
    choices: Sequence[Choice] | None = None
    lost: bool = False
    #: What is now known of the access token that the application gave, if that changes.
    token: AccessToken | None = None
    outcomes: Sequence[Outcome] = ()
    mails: Sequence[Mail] = ()
    #: Of `mails`, what asks the user to connect a lost account: connecting it cancels those not sent yet.
    reconnects: Sequence[str] = ()
    cancel: Sequence[str] = ()
    check_channel: bool = False
    #: Services of which a profile was connected again, as CAUSE:PROVIDER.
    works: Collection[str] = ()
    #: When to ask once more (ms; 0 for never) if the look took up `Account.profiles_due`.
    ask_again: int | None = None
    #: The same for the account's notification channel and `Account.channel_due`; and what was found of it.
    check_again: int | None = None
    channel: NotificationChannel | None = None
    #: What is added to the counters.
    figures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did not write."""

    #: Events that were tracked again or untracked since the claim.
    changed: frozenset[EventKey] = frozenset()
    #: The outages (CAUSE:PROVIDER@CENTER) that began with it, and that ended.
    begun: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    #: Nothing was written: it was about credentials, but the account was connected again meanwhile.
    void: bool = False


class LeaseLost(Exception):
    """The lease expired and someone else may hold the account: nothing was changed."""


@dataclass(frozen=True, slots=True)
class Wakeups:
    """Wake-ups that several processes would send at once: decides which one does, and when."""

    redis: Redis
    keys: Keys
    scripts: Scripts

    def after_notification(self, sub: str) -> timedelta | None:
        """When to look at an account that a notification is about: now, soon, or None (already planned).

        A burst of notifications costs two looks: one at the first, and one that sees all the rest.
        """
        if self.redis.exists(self.keys.waking(sub)):
            return None
        if self._is_first(self.keys.woken(sub), WAKE_WINDOW):
            return timedelta(0)
        return WAKE_WINDOW if self._is_first(self.keys.waking(sub), WAKE_WINDOW) else None

    def after_refusal(self, sub: str, rest: timedelta) -> timedelta | None:
        """When to look again after the budget refused a look; None if already planned."""
        wait = min(rest, LONGEST_WAKE)
        return wait if self._is_first(self.keys.waking(sub), wait) else None

    def take_sweep(self, every: timedelta) -> bool:
        """Whether no other sweep took this tick; ticks are `every` apart."""
        # A little less than the interval, since ticks are never exactly regular.
        return self._is_first(self.keys.slot, every * 0.9)

    def take_resumption(self, after: timedelta) -> bool:
        """Whether to wake the looks that the budget broke off in `after`; false if someone else will."""
        return self._is_first(self.keys.resuming, after)

    def valid_for(self, time: timedelta) -> dict[str, str]:
        """The headers of a wake-up that is useless after this time, by the server's clock.

        Celery's own expiry would compare the clocks of two hosts.
        """
        return {VALID_UNTIL: str(to_ms(server_time(self.redis) + time))}

    def is_late(self, headers: Mapping[str, Any]) -> bool:
        """Whether a wake-up with these headers came too late to be of use."""
        until = str(headers.get(VALID_UNTIL, ""))
        return until.isdecimal() and to_ms(server_time(self.redis)) > int(until)

    def _is_first(self, key: str, window: timedelta) -> bool:
        """Whether nobody took this key within the last `window`, which is at least a millisecond."""
        window_ms = max(1, in_ms(window))
        return bool(self.scripts.run("take_slot", key, window_ms))
