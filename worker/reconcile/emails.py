"""Composes the emails that a look decided on, ready for the outbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage

from worker.ledger.leases import Mail
from worker.ledger.records import TrackedEvent
from worker.mail.compose import (
    Envelope,
    FallbackEmail,
    IncidentEmail,
    Meeting,
    RelinkEmail,
    compose_fallback,
    compose_incident,
    compose_relink,
    message_id,
)


@dataclass(frozen=True, slots=True)
class Emails:
    """Who our emails come from, and where escalations go (contract §4)."""

    sender: str
    reply_to: str | None
    escalation_email: str | None

    def relink(self, mail_id: str, email: RelinkEmail, now: datetime) -> Mail:
        """The email that asks a user to connect a profile again."""
        return _mail(mail_id, compose_relink(email, self._envelope(mail_id, now)))

    def fallback(self, mail_id: str, email: FallbackEmail, now: datetime) -> Mail:
        """The email that tells a user of a meeting's other link."""
        return _mail(mail_id, compose_fallback(email, self._envelope(mail_id, now)))

    def incident(self, mail_id: str, email: IncidentEmail, now: datetime) -> Mail:
        """The email that tells the operator of an incident, or that it is over."""
        return _mail(mail_id, compose_incident(email, self._envelope(mail_id, now)))

    def _envelope(self, mail_id: str, now: datetime) -> Envelope:
        return Envelope(self.sender, self.reply_to, message_id(mail_id, self.sender), now)


def meeting_of(event: TrackedEvent) -> Meeting:
    """The event as an email shows it."""
    start = event.start
    return Meeting(
        summary=event.summary,
        start=start.local if start else None,
        tzid=start.tzid if start else None,
        calendar_id=event.key.calendar_id,
        event_id=event.key.event_id,
    )


def _mail(mail_id: str, message: EmailMessage) -> Mail:
    return Mail(mail_id, message.as_bytes())
