"""What a look has in its hands, and all that it may change when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.ledger.dead_letters import DeadLetter
from worker.ledger.outcomes import Outcome
from worker.ledger.packing import Unreadable
from worker.ledger.records import Account, Memo, Stored, TrackedEvent


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
    hints: Mapping[bytes, bytes] = field(default_factory=dict)
    #: How many claims before this one, in a row, no look ended: its process died, or lost Redis.
    unended: int = 0
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else holds the account, for no longer than this."""

    remaining: timedelta


@dataclass(frozen=True, slots=True)
class EventChange:
    """What a look makes of one event; refused if the event changed since it was claimed."""

    before: Stored
    after: TrackedEvent
    settle: bool = False
    outcomes: tuple[Outcome, ...] = ()
    #: The look took up what notifications said of the event.
    heeded: bool = False
    #: Kept together with the change.
    letter: DeadLetter | None = None
    #: The record is taken out, and the letter holds it: this is its field.
    dropped: bytes | None = None

    @property
    def field(self) -> bytes:
        """The hash field of the event."""
        return self.dropped or self.before.event.key.field


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
    tend: bool = False


class LeaseLost(Exception):
    """The lease expired and somebody else may hold the account: nothing was changed."""
