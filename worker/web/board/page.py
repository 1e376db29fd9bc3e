"""Renders the board's pages."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from worker.diagnosis.cause_table import UNSEEN
from worker.explain.chronicle import history_of
from worker.explain.explanation import sections
from worker.explain.reply import reply
from worker.ledger.records import from_ms
from worker.web.board.events import CAUSES, SOON, events_url
from worker.web.board.incidents import FOR_OTHERS, picked_for
from worker.wording import line, provider, second, spoken

#: Longer than any of our sentences, and any URL with three ids.
LONGEST = 20_000


def page(template: str, status_code: int = 200, **shown: Any) -> Response:
    """A page from its template; whatever it shows is escaped, and cannot reorder the text around it."""
    return HTMLResponse(render(template, **shown), status_code)


def render(template: str, **shown: Any) -> str:
    """The same as HTML."""
    return _TEMPLATES.get_template(template).render(**shown)


def _plain(value: Any) -> Any:
    """A value that a template prints, on one line and without control and bidi characters."""
    # With this method, it is already HTML made by a template.
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return line(value, LONGEST)
    return value


def event_url(sub: str, calendar_id: str, event_id: str) -> str:
    """The URL of an event's page."""
    return "/board/event?" + urlencode({"account": sub, "calendar": calendar_id, "event": event_id})


def incident_url(incident_id: str) -> str:
    """The URL of an incident's page."""
    return "/incidents/" + quote(incident_id, safe="")


_TEMPLATES = Environment(
    loader=PackageLoader("worker.web.board"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_plain,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"moment": second, "spoken": spoken, "provider": provider, "shell": shlex.join}
_TEMPLATES.globals |= {
    "event_url": event_url,
    "events_url": events_url,
    "from_ms": from_ms,
    "incident_url": incident_url,
    "picked_for": picked_for,
    "FOR_OTHERS": FOR_OTHERS,
    "history_of": history_of,
    "reply": reply,
    "sections": sections,
    "CAUSES": CAUSES,
    "SOON": SOON,
    "UNSEEN": UNSEEN,
}
