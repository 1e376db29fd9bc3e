"""Composes the emails that a look decided on, ready for the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from uuid import uuid4

from worker.ledger.leases import Mail
from worker.ledger.records import Account
from worker.mail.compose import (
    Envelope,
    Escalation,
    EscalationLetter,
    RelinkLetter,
    compose_escalation,
    compose_relink,
    message_id,
)
from worker.reconcile.relinks import meeting
from worker.reconcile.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Post:
    """Who our emails come from, and where escalations go (contract §4)."""

    sender: str
    reply_to: str | None
    escalation_email: str | None

    def relink(self, mail_id: str, letter: RelinkLetter, now: datetime) -> Mail:
        """The email that asks a user to connect a profile again."""
        return _sealed(mail_id, compose_relink(letter, self._envelope(mail_id, now)))

    def escalation(
        self, account: Account, email: str | None, verdicts: Sequence[Verdict], now: datetime
    ) -> list[Mail]:
        """One email to the operator about all events of one look; none where no address is set."""
        if not self.escalation_email:
            return []
        mail_id = uuid4().hex
        letter = EscalationLetter(
            to=self.escalation_email,
            sub=account.sub,
            account_email=email,
            data_center=account.data_center,
            entries=tuple(_entry(verdict) for verdict in verdicts),
        )
        return [_sealed(mail_id, compose_escalation(letter, self._envelope(mail_id, now)))]

    def _envelope(self, mail_id: str, now: datetime) -> Envelope:
        return Envelope(self.sender, self.reply_to, message_id(mail_id, self.sender), now)


def _entry(verdict: Verdict) -> Escalation:
    event_uid = verdict.after.seen.get("event_uid")
    evidence, reason = verdict.diagnosis.evidence, verdict.escalated or ""
    return Escalation(
        meeting=meeting(verdict.after),
        cause=verdict.diagnosis.cause.value if verdict.diagnosis.cause else "",
        reason=reason,
        evidence=() if reason == " ".join(evidence) else evidence,
        event_uid=event_uid if isinstance(event_uid, str) else None,
    )


def _sealed(mail_id: str, message: EmailMessage) -> Mail:
    return Mail(mail_id, message.as_bytes())
