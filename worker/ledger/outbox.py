"""The outbox: an email that a commit decided on is kept here until it is sent or refused for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

import msgpack

from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import Outcome, typed
from worker.ledger.packing import fingerprint
from worker.ledger.records import in_ms, to_ms
from worker.ledger.refusals import KEPT_FOR, pack_refusal
from worker.ledger.vault import place_of_mail, place_of_parts

#: How long a worker may take over an email before another tries: longer than the SMTP deadline.
SEND_LEASE = timedelta(seconds=50)


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """An email taken from the outbox; `attempts` includes this one."""

    mail_id: str
    message: bytes = field(repr=False)
    sub: str
    attempts: int
    #: What a letter to a user was composed of; None for an email to the operator.
    parts: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Outbox:
    """The unsent emails of a ledger."""

    ledger: Ledger

    def take(self) -> QueuedMail | None:
        """Take the email that has been due longest; None if none is due."""
        answer = self.ledger.run("take_mail", in_ms(SEND_LEASE))
        if not answer:
            return None
        mail_id, sub, attempts, vault = answer[0].decode(), answer[2].decode(), answer[3], self.ledger.vault
        message = vault.open(answer[1], *place_of_mail(mail_id, sub))
        parts = vault.open(answer[4], *place_of_parts(mail_id, sub)) if answer[4] else None
        return QueuedMail(mail_id, message, sub, attempts, parts)

    def has_due(self) -> bool:
        """Whether an email, or an incident that one may be written about, is due; never while paused."""
        if self.ledger.paused_since() is not None:
            return False
        redis, keys, now_ms = self.ledger.redis, self.ledger.keys, to_ms(self.ledger.now())
        return any(redis.zcount(key, "-inf", now_ms) for key in (keys.outbox, keys.incidents))

    def holds(self, mail_id: str) -> bool:
        """Whether this email is still waiting to be sent."""
        return bool(self.ledger.redis.exists(self.ledger.keys.mail(mail_id)))

    def was_refused(self, mail_id: str) -> bool:
        """Whether a mail server refused this email for good within the last thirty days."""
        return bool(self.ledger.redis.exists(self.ledger.keys.refused(mail_id)))

    def went_nowhere(self, mail_id: str) -> bool:
        """Whether this email was kept as a file, or left to the application, within the last thirty days."""
        return bool(self.ledger.redis.exists(self.ledger.keys.unsent(mail_id)))

    def kept(self, mail_id: str) -> None:
        """Remove an email that is a file now, since there is no mail server."""
        self._finish(mail_id, "kept")

    def sent(self, mail_id: str) -> None:
        """Remove an email that the mail server took, or whoever else sends it."""
        self._finish(mail_id, "sent")

    def owed(self, mail_id: str, outcome: Outcome) -> None:
        """Remove a letter that the application sends itself, as `outcome` says."""
        self._finish(mail_id, "owed", outcomes=(outcome,))

    def refused(self, mail_id: str, address: str, reason: str, outcomes: Sequence[Outcome]) -> None:
        """Remove an email that was refused for good at this address, for this reason.

        `outcomes` report it, but none that escalates is published while the same address is refused again.
        """
        by = _named(address)
        refusal = pack_refusal(mail_id, self.ledger.now(), address, reason, by)
        self._finish(mail_id, "refused", outcomes=outcomes, refused_by=by, refusal=refusal)

    def later(self, mail_id: str, wait: timedelta, reason: str = "") -> None:
        """Try again after `wait`; `reason` says why it could not be sent."""
        self._finish(mail_id, "later", in_ms(wait), reason=reason)

    def _finish(
        self,
        mail_id: str,
        how: str,
        wait_ms: int = 0,
        outcomes: Sequence[Outcome] = (),
        refused_by: str = "",
        refusal: bytes = b"",
        reason: str = "",
    ) -> None:
        packed, keep = msgpack.packb(typed(outcomes)), self.ledger.outcomes_keep
        self.ledger.run(
            "finish_mail", mail_id, how, wait_ms, packed, keep, refused_by, refusal, in_ms(KEPT_FOR), reason
        )


def refused_elsewhere(ledger: Ledger, mail_ids: Sequence[str], address: str) -> frozenset[str]:
    """Those of these emails that a mail server refused for good at another address than this one."""
    if not mail_ids:
        return frozenset()
    found = cast("list[bytes | None]", ledger.redis.mget([ledger.keys.refused(each) for each in mail_ids]))
    here = _named(address)
    # Earlier releases kept the time instead, which says nothing about the address.
    return frozenset(
        mail_id
        for mail_id, by in zip(mail_ids, found, strict=True)
        if by is not None and len(by) == len(here) and by.decode() != here
    )


def _named(address: str) -> str:
    """What is kept of an address: enough to tell it from another."""
    return fingerprint(address.encode())
