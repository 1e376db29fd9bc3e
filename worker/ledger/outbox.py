"""The outbox: emails that a commit decided on, kept until they are sent or refused for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import Outcome
from worker.ledger.packing import fingerprint
from worker.ledger.records import to_ms
from worker.ledger.sealed import place_of_mail

#: How long a worker may take over an email before another tries: longer than the SMTP deadline.
SEND_LEASE = timedelta(seconds=50)


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """An email taken from the outbox; `attempts` includes this one."""

    mail_id: str
    message: bytes
    sub: str
    attempts: int

    def __repr__(self) -> str:
        return f"QueuedMail({self.mail_id!r}, attempts={self.attempts})"


class Outbox:
    """The unsent emails of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def take(self) -> QueuedMail | None:
        """Take the email that has been due longest; None if none is due."""
        answer = self._ledger.run("take_mail", int(SEND_LEASE.total_seconds() * 1000))
        if not answer:
            return None
        mail_id, sealed, sub, attempts = answer
        place = place_of_mail(mail_id.decode(), sub.decode())
        return QueuedMail(mail_id.decode(), self._ledger.vault.open(sealed, *place), sub.decode(), attempts)

    def has_due(self) -> bool:
        """Whether an email is due; never while the fleet is paused."""
        if self._ledger.paused_since() is not None:
            return False
        now_ms = to_ms(self._ledger.now())
        return bool(self._ledger.redis.zcount(self._ledger.keys.outbox, "-inf", now_ms))

    def holds(self, mail_id: str) -> bool:
        """Whether this email is still waiting to be sent."""
        return bool(self._ledger.redis.exists(self._ledger.keys.mail(mail_id)))

    def was_refused(self, mail_id: str) -> bool:
        """Whether a mail server refused this email for good within the last thirty days."""
        return bool(self._ledger.redis.exists(self._ledger.keys.refused(mail_id)))

    def sent(self, mail_id: str) -> None:
        """Remove an email that the mail server took."""
        self._finish(mail_id, "sent")

    def refused(self, mail_id: str, outcome: Outcome, address: str) -> None:
        """Remove an email that was refused for good at this address; `outcome` reports it."""
        self._finish(mail_id, "refused", outcome=outcome.to_json(), refused_by=_named(address))

    def later(self, mail_id: str, wait: timedelta) -> None:
        """Try again after `wait`."""
        self._finish(mail_id, "later", int(wait.total_seconds() * 1000))

    def _finish(
        self, mail_id: str, how: str, wait_ms: int = 0, outcome: str = "", refused_by: str = ""
    ) -> None:
        keep = self._ledger.outcomes_keep
        self._ledger.run("finish_mail", mail_id, how, wait_ms, outcome, keep, refused_by)


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
