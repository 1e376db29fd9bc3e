"""What a look has in its hands, and all that it may change when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from worker.ledger.dead_letters import DeadLetter
from worker.ledger.outcomes import Outcome
from worker.ledger.packing import Damaged, pack_event, stored_as
from worker.ledger.records import Account, EventKey, Memo, Stored, TrackedEvent


@dataclass(frozen=True, slots=True)
class Lease:
    """An account in our hands: until it is committed or released, or the lease expires."""

    sub: str
    token: str
    #: The ledger's time of the claim.
    now: datetime
    account: Account
    #: The account's pending events, as stored.
    events: tuple[Stored, ...]
    #: What notifications said of them since their last look, by their fields.
    notices: Mapping[bytes, bytes] = field(default_factory=dict)
    #: How many claims in a row before this one no look ended: its process died, or lost Redis.
    unended: int = 0
    #: Stored values that are no records.
    damaged: tuple[Damaged, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else holds the account, for no longer than this."""

    remaining: timedelta


@dataclass(frozen=True)
class EventChange:
    """What a look makes of one event; refused if the event changed since it was claimed."""

    before: Stored
    after: TrackedEvent
    settle: bool = False
    outcomes: tuple[Outcome, ...] = ()
    #: The look took up what notifications said of the event.
    notice_taken: bool = False
    #: Kept together with the change.
    dead_letter: DeadLetter | None = None
    #: The record is damaged: it leaves the ledger, and the dead letter holds it. This is its field.
    dropped: bytes | None = None

    @property
    def field(self) -> bytes:
        """The hash field of the event."""
        return self.dropped or self.before.event.key.field

    @cached_property
    def value(self) -> bytes:
        """What is stored. Raises where the record cannot be packed."""
        return b"" if self.dropped else pack_event(self.after)

    @property
    def stored(self) -> Stored:
        """The record once this change is written."""
        return stored_as(self.after, self.value)


@dataclass(frozen=True, slots=True)
class Mail:
    """A composed email for the outbox; it may hold a relink URL, so it is sealed on its way in."""

    mail_id: str
    message: bytes

    def __repr__(self) -> str:
        return f"Mail({self.mail_id!r})"


@dataclass(frozen=True, slots=True)
class Change:
    """All that one look of an account changes."""

    events: Sequence[EventChange] = ()
    memo: Memo | None = None
    #: The account was found refused by Cronofy.
    lost: bool = False
    outcomes: Sequence[Outcome] = ()
    mails: Sequence[Mail] = ()
    cancel: Sequence[str] = ()
    #: The account's notification channel is to be looked after next.
    check_channel: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did not write."""

    #: Events that were tracked again or untracked since the claim.
    changed: frozenset[EventKey] = frozenset()
    #: Nothing at all: the account was found refused, and was connected again meanwhile.
    void: bool = False


class LeaseLost(Exception):
    """The lease expired and somebody else may hold the account: nothing was changed."""
