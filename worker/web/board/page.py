"""Renders the board's pages."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Any

from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from worker.diagnosis.cause_table import UNSEEN
from worker.diagnosis.model import Cause
from worker.explain.chronicle import history_of
from worker.explain.explanation import sections
from worker.explain.reply import reply
from worker.ledger.records import from_ms
from worker.run.deciding import same_provider
from worker.trouble import Kind
from worker.web.board.events import CAUSES
from worker.web.board.incidents import COUNTED, FOR_OTHERS
from worker.web.board.listing import To
from worker.web.board.outcomes import WORDS
from worker.web.board.urls import account_url, event_url, incident_url, letter_url, list_url
from worker.web.templates import LONGEST, templates_of
from worker.wording import amount, line, provider, second, spoken


def page(template: str, status_code: int = 200, **shown: Any) -> Response:
    """A page from its template; whatever it shows is escaped, and cannot reorder the text around it."""
    return HTMLResponse(render(template, **shown), status_code)


def trouble(status_code: int, title: str, text: str) -> Response:
    """The page that says why there is no other."""
    return page("trouble.html", status_code, title=title, text=text)


def render(template: str, **shown: Any) -> str:
    """The same as HTML."""
    return _TEMPLATES.get_template(template).render(**shown)


NO_BROKER = "The broker is unavailable, so no worker heard of it. Try again."
#: The pages that every page leads to.
NAVIGATION = {
    "/": "Overview",
    "/events": "Events",
    "/incidents": "Incidents",
    "/accounts": "Accounts",
    "/mails": "Emails",
    "/outcomes": "Outcomes",
    "/dead-letters": "Dead letters",
    "/workers": "Workers",
    "/report": "Report",
}


def _lines(text: str) -> Markup:
    """A text of several lines, each as templates show a value, with its indent."""
    kept = (f"{' ' * (len(each) - len(each.lstrip(' ')))}{line(each, LONGEST)}" for each in text.split("\n"))
    return Markup("\n").join(kept)


_PAGES = {
    Kind.SERVICE_FAILING: "/incidents",
    Kind.PROFILES_LAPSED: "/incidents",
    Kind.INCIDENTS: "/incidents",
    Kind.CAME_BACK: list_url("/events", told="escalated"),
    Kind.TOKEN_OWED: list_url("/events", cause=Cause.ACCOUNT_UNAUTHORIZED.value),
    Kind.ACCOUNTS_LOST: list_url("/accounts", standing="lost"),
    Kind.DEAD_LETTERS: "/dead-letters",
    Kind.LETTERS_FULL: "/dead-letters",
    Kind.MAIL_STUCK: "/mails",
    Kind.ADDRESS_REFUSED: list_url("/mails", state="refused"),
    Kind.NO_WORKER: "/workers",
    Kind.QUEUE_UNCONSUMED: "/workers",
    Kind.QUEUE_GROWS: "/workers",
}


def trouble_url(kind: Kind) -> str | None:
    """The URL of the page that resolves a trouble or shows it; None for one that has a command instead."""
    return _PAGES.get(kind)


_TEMPLATES = templates_of("worker.web.board")
_TEMPLATES.tests |= {
    "a_time": lambda value: isinstance(value, datetime),
    "a_link": lambda value: isinstance(value, To),
    # Neither can it turn the line around, nor is a word of it too long for a column.
    "plain": lambda value: value.isascii() and max(map(len, value.split()), default=0) <= 24,
}
_TEMPLATES.filters |= {
    "amount": amount,
    "moment": second,
    "number": "{:,}".format,
    "spoken": spoken,
    "provider": provider,
    "shell": shlex.join,
    "lines": _lines,
}
_TEMPLATES.globals |= {
    "CAUSES": CAUSES,
    "account_url": account_url,
    "event_url": event_url,
    "from_ms": from_ms,
    "incident_url": incident_url,
    "letter_url": letter_url,
    "list_url": list_url,
    "NAVIGATION": NAVIGATION,
    "trouble_url": trouble_url,
    "same_provider": same_provider,
    "COUNTED": COUNTED,
    "OUTCOMES": WORDS,
    "FOR_OTHERS": FOR_OTHERS,
    "history_of": history_of,
    "reply": reply,
    "sections": sections,
    "UNSEEN": UNSEEN,
}
