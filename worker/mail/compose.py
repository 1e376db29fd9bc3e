"""Composes the emails: to a user, with a finished letter; to an operator, about incidents.

Pure: the same input gives the same message. The Message-ID is derived from the email's id in the outbox, so
an email sent twice is recognisable as one.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from datetime import date, datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import Parser
from email.policy import SMTP, EmailPolicy
from typing import Final, cast
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from worker import wording
from worker.addresses import address, mailbox
from worker.diagnosis.model import Cause
from worker.ledger.records import FLEET
from worker.mail.advice import WAITING, advice_on, headline
from worker.mail.letters import SUBJECT_LIMIT, Letter, Meeting
from worker.wording import utc

#: How many events, and removed profiles, an email about an incident lists.
LISTED_AFFECTED: Final = 20


@dataclass(frozen=True, slots=True)
class ReportEmail:
    """What came of the meetings of one month."""

    to: str
    month: str
    headline: str
    sentences: tuple[str, ...]
    #: Headings with their rows: what it is, with its link, without, tracked too late.
    parts: tuple[tuple[str, tuple[tuple[str, int, int, int], ...]], ...]
    #: The report on the board; None without its public address.
    board_url: str | None = None


@dataclass(frozen=True, slots=True)
class AffectedEvent:
    """One event of an incident, and what is known about it."""

    meeting: Meeting
    sub: str
    account_email: str | None
    data_center: str
    #: Why a person is told, in a sentence or two.
    reason: str
    event_uid: str | None = None
    #: (when, what was seen and done), oldest first.
    history: tuple[tuple[datetime, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """What can be set in place of a removed profile."""

    to_profile_id: str  #: or `default`, `integrated`
    provider_name: str | None = None
    profile_name: str | None = None


@dataclass(frozen=True, slots=True)
class RemovedProfile:
    """A removed profile for which a person has to choose another."""

    sub: str
    account_email: str | None
    profile_id: str
    profile_name: str | None
    provider_name: str | None
    events: int
    #: The soonest of them.
    soonest: Meeting
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class IncidentEmail:
    """What the operator is told about one incident (contract §6)."""

    to: str
    incident_id: str
    kind: str  #: a key of `ADVICE`
    provider_name: str | None
    opened_at: datetime
    events: int  #: how many there are; of one that is over, how many there were
    accounts: int
    acknowledged: int
    affected: tuple[AffectedEvent, ...]  #: the soonest first, not all of many
    removed: tuple[RemovedProfile, ...] = ()
    client_id: str = ""
    link: str | None = field(default=None, repr=False)  #: a secret: who has it may decide
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """The headers that do not depend on what an email says."""

    sender: str  #: `address` or `Name <address>`
    reply_to: str | None
    message_id: str  #: as `message_id` makes it
    date: datetime  #: aware
    first: str | None = None  #: the Message-ID of the email that this one reminds of
    list_id: str | None = None  #: as `list_id` makes it


class _SubjectPolicy(EmailPolicy):
    """Folds subjects with the older `Header`: the newer code loses blanks between encoded words, and puts
    one in front of a long subject."""

    def fold(self, name: str, value: str) -> str:
        if name != "Subject":
            return str(super().fold(name, value))
        charset = None if value.isascii() else "utf-8"
        folded = Header(value, charset, header_name=name).encode(linesep=self.linesep)
        return f"{name}: {folded}{self.linesep}"

    def fold_binary(self, name: str, value: str) -> bytes:
        return self.fold(name, value).encode("utf-8" if self.utf8 else "ascii")


_POLICY: Final = _SubjectPolicy(linesep=SMTP.linesep)


def message_id(mail_id: str, sender: str) -> str:
    """Return the Message-ID for an id in the outbox: `<mail_id@domain of the sender>`.

    Characters not allowed in a Message-ID are percent-encoded, so two emails never share one. ValueError if
    the sender is invalid.
    """
    # quote() keeps dots, which must not come first, last or in pairs here.
    return f"<{quote(mail_id, safe='').replace('.', '%2E')}@{mailbox(sender).domain}>"


def list_id(name: str, sender: str) -> str:
    """Return the List-Id by which users' mail programs can sort our letters: `name <letters.domain>`."""
    ours = mailbox(sender)
    shown = address(ours.addr_spec, name).display_name
    named = f"<meeting-links.{ours.domain}>"
    return f"{shown} {named}" if shown.isascii() and shown else named


def read_back(content: bytes) -> EmailMessage:
    """Parse a message that was composed here and stored as bytes."""
    policy = _POLICY.clone(utf8=not content.isascii())
    message = Parser(EmailMessage, policy=policy).parsestr(content.decode())
    return cast("EmailMessage", message)


def recipient_of(message: EmailMessage) -> str:
    """The address that a message composed here goes to, without a name."""
    return str(message["To"].addresses[0].addr_spec)


def compose_letter(letter: Letter, envelope: Envelope) -> EmailMessage:
    """Return the email with a letter to a user; ValueError if an address is not plain."""
    to = address(letter.to, wording.line(letter.name or "", 80))
    return _message(to, envelope, letter.subject, letter.text, letter.html)


def compose_incident(email: IncidentEmail, envelope: Envelope) -> EmailMessage:
    """Return the email about an incident: what happened, how many, the soonest meetings, what to do.

    Or, if it is over, that it is. ValueError if an address is not plain.
    """
    name = "over" if email.is_over else "incident"
    return _compose(
        f"fleet.{name}" if email.kind in FLEET else name,
        address(email.to),
        envelope,
        email=email,
        what=headline(email.kind, email.provider_name),
        advice=advice_on(email.kind),
        waits=email.kind in WAITING,
        affected=email.affected[:LISTED_AFFECTED],
        removed=email.removed[:LISTED_AFFECTED],
        pasted=email.affected[:LISTED_AFFECTED] if email.kind == Cause.UNEXPLAINED else (),
    )


def compose_report(email: ReportEmail, envelope: Envelope) -> EmailMessage:
    """Return the email with the report on a month. ValueError if the address is not plain."""
    return _compose("report", address(email.to), envelope, email=email)


def _compose(kind: str, to: Address, envelope: Envelope, **values: object) -> EmailMessage:
    def render(part: str) -> str:
        return _templates.get_template(f"{kind}.{part}").render(values)

    return _message(to, envelope, render("subject.txt"), render("body.txt"), render("body.html"))


def _message(to: Address, envelope: Envelope, subject: str, text: str, html: str) -> EmailMessage:
    addresses = {"From": mailbox(envelope.sender), "To": to}
    if envelope.reply_to:
        addresses["Reply-To"] = mailbox(envelope.reply_to)
    # ASCII wherever it can be: not every server offers SMTPUTF8.
    is_ascii = all(each.username.isascii() for each in addresses.values())
    message = EmailMessage(policy=_POLICY.clone(utf8=not is_ascii))
    for header, value in addresses.items():
        message[header] = value
    message["Subject"] = wording.header(subject, SUBJECT_LIMIT)
    message["Date"] = envelope.date
    message["Message-ID"] = envelope.message_id
    if envelope.first:
        # A reminder stands below the email that it reminds of.
        message["In-Reply-To"] = message["References"] = envelope.first
    if envelope.list_id:
        message["List-Id"] = envelope.list_id
    # RFC 3834 and its Exchange counterpart: we do not want out-of-office replies.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(text, charset="utf-8", cte="quoted-printable")
    message.add_alternative(html, "html", charset="utf-8", cte="quoted-printable")
    return message


def _one_line(value: object) -> object:
    """Keep whatever a template prints on one line, even where a filter was forgotten."""
    return wording.line(value, limit=2048) if isinstance(value, str) else value


def _when(meeting: Meeting) -> str:
    return wording.when(meeting.start, meeting.tzid)


_templates = Environment(
    loader=PackageLoader("worker.mail"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    finalize=_one_line,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _utc(moment: datetime | date | None) -> str:
    """An absolute time for another company's support."""
    if moment is None:
        return "unknown"
    if not isinstance(moment, datetime):
        return f"{moment.isoformat()} (all day)"
    return utc(moment)


_templates.filters |= {
    "line": wording.line,
    "when": _when,
    "utc": _utc,
    "provider": wording.provider,
    "shell": shlex.join,
}
