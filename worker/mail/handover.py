"""Hands letters to whoever sends them by their own means (contract §6).

What is handed over is the composed email and what it was composed of. The latter is kept beside the email in
the outbox, as its parts; an email to the operator has none.
"""

from __future__ import annotations

import json
from email.message import EmailMessage
from typing import Any

from worker.mail.compose import recipient_of
from worker.mail.letters import Letter, Meeting, RelinkEmail, UserEmail


def parts_of(email: UserEmail, letter: Letter) -> bytes:
    """What the letter was composed of, as JSON; it may hold a link that is a secret."""
    if isinstance(email, RelinkEmail):
        meetings, reminder = email.meetings, email.reminder
        own = {"profile_name": email.profile_name, "link": email.relink_url, "why": None}
    else:
        meetings, reminder = (email.meeting,), 0
        own = {"profile_name": None, "link": email.join_url, "why": letter.parts["why"]}
    parts = {"provider_name": email.provider_name, **own, "meetings": [_meeting(each) for each in meetings]}
    about = {"kind": letter.kind, "reminder": reminder, "locale": letter.locale, "name": letter.name}
    return json.dumps({**about, "parts": parts}, ensure_ascii=False).encode()


def letter_of(mail_id: str, sub: str, message: EmailMessage, parts: bytes) -> dict[str, Any]:
    """The letter as contract JSON."""
    return {
        "id": mail_id,
        "sub": sub,
        "to": recipient_of(message),
        "subject": str(message["Subject"]),
        "text": _content(message, "plain"),
        "html": _content(message, "html"),
        **json.loads(parts),
    }


def owed_by(mail_id: str, parts: bytes) -> dict[str, Any]:
    """The same as an outcome may say it: what and about which events, but no text, name, address or link."""
    known = json.loads(parts)
    return {
        "mail_id": mail_id,
        "kind": known["kind"],
        "reminder": known["reminder"],
        "provider_name": known["parts"]["provider_name"],
        "event_ids": [meeting["event_id"] for meeting in known["parts"]["meetings"]],
    }


def kind_of(parts: bytes | None) -> str:
    """The letter's kind; `operator` for an email to the operator."""
    return "operator" if parts is None else str(json.loads(parts)["kind"])


def _meeting(meeting: Meeting) -> dict[str, Any]:
    return {
        "calendar_id": meeting.calendar_id,
        "event_id": meeting.event_id,
        "summary": meeting.summary,
        "start": meeting.start.isoformat() if meeting.start else None,
        "tzid": meeting.tzid,
    }


def _content(message: EmailMessage, subtype: str) -> str:
    body = message.get_body((subtype,))
    # On the wire a line ends with CR and LF.
    return str(body.get_content()).replace("\r\n", "\n") if body is not None else ""
