"""Renders the board's pages, and sets headers that keep them private."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from worker.diagnosis.cause_table import UNSEEN
from worker.explain.explanation import sections
from worker.explain.reply import reply
from worker.text.amounts import second, spoken
from worker.text.wording import line, provider

#: Nothing loads from elsewhere, no inline code runs, no page may frame ours, nothing is cached.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
#: Longer than any of our sentences, and any URL with three ids.
LONGEST = 20_000


def page(template: str, status_code: int = 200, **shown: Any) -> Response:
    """A page from its template; whatever it shows is escaped, and cannot reorder the text around it."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(**shown), status_code, HEADERS)


def _plain(value: Any) -> Any:
    """A value that a template prints, on one line and without control and bidi characters."""
    # With this method, it is already HTML made by a template.
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return line(value, LONGEST)
    return value


def event_url(sub: str, calendar_id: str, event_id: str) -> str:
    """The URL of an event's page."""
    return "/board/event?" + urlencode({"account": sub, "calendar": calendar_id, "event": event_id})


_TEMPLATES = Environment(
    loader=PackageLoader("worker.web.board"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_plain,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"moment": second, "spoken": spoken, "provider": provider, "shell": shlex.join}
_TEMPLATES.globals |= {"event_url": event_url, "reply": reply, "sections": sections, "UNSEEN": UNSEEN}
