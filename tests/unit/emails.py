"""Sample emails, and readers for composed ones."""

from __future__ import annotations

from datetime import UTC, date, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from html.parser import HTMLParser

from worker.diagnosis.model import Cause
from worker.mail.compose import (
    AffectedEvent,
    Candidate,
    Envelope,
    IncidentEmail,
    RemovedProfile,
    compose_letter,
)
from worker.mail.letters import (
    FallbackEmail,
    Letterhead,
    Letters,
    Meeting,
    Reader,
    RelinkEmail,
    UserEmail,
)

LETTERS = Letters(Letterhead("Acme Hiring", support_address="help@acme.example"))
DANA = Reader("dana@example.org", "Dana")

ENVELOPE = Envelope(
    sender="Conferencing <no-reply@example.org>",
    reply_to="help@example.org",
    message_id="<mail-1@example.org>",
    date=datetime(2026, 11, 30, 8, 15, tzinfo=UTC),
)
WEEKLY = Meeting("Weekly", datetime(2026, 12, 1, 9, 0, tzinfo=UTC), "Europe/Paris", "cal_1", "evt_1")
OFFSITE = Meeting("Offsite", date(2026, 12, 1), "Europe/Paris", "cal_1", "evt_2")
SOMEDAY = Meeting("Someday", None, None, "cal_2", "evt_3")
RELINK = RelinkEmail(
    reader=DANA,
    provider_name="zoom",
    profile_name="dana@work.example",
    relink_url="https://app.cronofy.com/v2/relink/zoom?email=dana%40example.org&token=s3cret",
    meetings=(WEEKLY,),
    reminder=0,
)
FALLBACK = FallbackEmail(
    reader=DANA,
    meeting=WEEKLY,
    cause=Cause.PROVIDER_OUTAGE,
    provider_name=None,
    join_url="https://meet.example.com/a2b3",
)
OPENED = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
AFFECTED = AffectedEvent(
    meeting=WEEKLY,
    sub="acc_1",
    account_email="dana@example.org",
    data_center="us",
    reason="Conferencing has been pending for a day with no visible reason.",
    event_uid="evt_external_1",
    history=((OPENED, "overdue, no reason found (14 times by then)"),),
)
INCIDENT = IncidentEmail(
    to="ops@example.org",
    incident_id="0a1b2c3d4e",
    kind="unexplained",
    provider_name="zoom",
    opened_at=OPENED,
    events=1,
    accounts=1,
    acknowledged=0,
    affected=(AFFECTED,),
    client_id="client-1",
)
REMOVED = RemovedProfile(
    sub="acc_1",
    account_email="dana@example.org",
    profile_id="pro_1",
    profile_name="dana@work.example",
    provider_name="zoom",
    events=3,
    soonest=WEEKLY,
    candidates=(Candidate("pro_2", "zoom", "lee@work.example"), Candidate("default")),
)


def composed(email: UserEmail, envelope: Envelope = ENVELOPE, letters: Letters = LETTERS) -> EmailMessage:
    """The email with the letter for what one user is told."""
    return compose_letter(letters.write(email), envelope)


class PlainText(HTMLParser):
    """The words, tags and link targets that a mail client would find in an HTML part."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.targets: list[str | None] = []
        self.shown = True
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.shown = tag != "style"
        if tag == "a":
            self.targets.append(dict(attrs)["href"])

    def handle_endtag(self, _tag: str) -> None:
        self.shown = True

    def handle_data(self, data: str) -> None:
        if self.shown:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    content = body.get_content()
    assert isinstance(content, str)
    return content


def prose(message: EmailMessage) -> str:
    return " ".join(part(message, "plain").split())


def sent(message: EmailMessage) -> EmailMessage:
    """The message as received."""
    received = message_from_bytes(message.as_bytes(), policy=SMTP)
    assert isinstance(received, EmailMessage)
    return received
