"""The addresses of the board's pages: to be kept and sent, so each says all that its page shows."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def event_url(sub: str, calendar_id: str, event_id: str) -> str:
    return "/board/event?" + urlencode({"account": sub, "calendar": calendar_id, "event": event_id})


def account_url(sub: str) -> str:
    return "/board/account?" + urlencode({"account": sub})


def incident_url(incident_id: str) -> str:
    return "/incidents/" + quote(incident_id, safe="")


def letter_url(letter_id: str) -> str:
    return "/dead-letters/" + quote(letter_id, safe="")


def list_url(path: str, **asked: str) -> str:
    """The URL of a list's first page."""
    return path + (f"?{urlencode(asked)}" if asked else "")
