"""Writes the letters to users: to connect something, or that a meeting has another link.

A finished `Letter` says nothing about how it is delivered. The templates are sandboxed, and any of them may
be the company's own (`RECONCILER_TEMPLATES_DIR`); what they are given is contract (§7).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final, Literal, TypeAlias

from babel import Locale
from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateSyntaxError,
    pass_eval_context,
    select_autoescape,
)
from jinja2.nodes import EvalContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from worker import wording
from worker.addresses import address as mail_address
from worker.diagnosis.model import Cause
from worker.mail.language import N_, Language, language, parse_locale, speaks, translated

#: The letters, in the order in which they are listed, each with what it is about.
LETTERS: Final[Mapping[str, str]] = {
    "relink": "a connection to a service has expired: the user reconnects it; also its reminders",
    "connect": "a connection was removed: the user connects the service; also its reminders",
    "reconnect": "the account was lost: the user connects the calendar again; also its reminders",
    "fallback": "a meeting that starts soon has another link, or gets one (the last resort)",
}
PARTS: Final = ("subject.txt", "body.txt", "body.html")

#: How many meetings a letter lists, before "and N more".
LISTED_MEETINGS: Final = 50
SUBJECT_LIMIT: Final = 149
_SUFFIXES: Final = (".txt", ".html")
_LOCALE: Final = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})*")

#: For the account's user, where the last resort can be used: why there was no link.
#: A cause that is not here has the first one, which is always true.
_WHY: Final[Mapping[Cause, str]] = {
    Cause.GENERATING: N_("The link was not created in time."),
    Cause.CREDENTIALS_EXPIRED: N_("The connection to its conferencing service has expired."),
    Cause.PROFILE_REMOVED: N_("The connection it was set up with is no longer there."),
    Cause.MISSING_MEETING_URL: N_("The calendar's own conferencing service gave none."),
    Cause.PROVIDER_OUTAGE: N_("The conferencing service is not working at the moment."),
    Cause.UNEXPLAINED: N_("The link was not created, for a reason that we could not find."),
}


@dataclass(frozen=True, slots=True)
class Meeting:
    """One affected meeting, as shown to a person."""

    summary: str
    start: datetime | date | None  #: aware; a date for an all-day meeting; None if unknown
    tzid: str | None  #: the zone to show it in
    calendar_id: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Reader:
    """Who gets a letter, and how they read it."""

    address: str
    name: str | None = None
    locale: str | None = None  #: as the application gave it; None for the default
    tzid: str | None = None  #: the zone to show times in; None for each meeting's own


@dataclass(frozen=True, slots=True)
class RelinkEmail:
    """What one user is told about one disconnected profile (contract §2, `credentials_expired`).

    Of another `kind`: about a service to connect in place of a removed profile, or about a lost account.
    """

    reader: Reader
    provider_name: str | None  #: as Cronofy spells it: `zoom`, `go_to`
    profile_name: str | None
    relink_url: str = field(repr=False)  #: a secret; of Cronofy's, `relink_links.refusal` allowed it
    meetings: tuple[Meeting, ...]
    reminder: int  #: 0 for the first email, n for the nth reminder
    is_calendar: bool = False  #: the profile of a calendar, not of a conferencing service
    kind: Literal["relink", "connect", "reconnect"] = "relink"  #: also the templates' name
    first: str | None = None  #: the id of the first email, if this is a reminder of it

    @property
    def title(self) -> str:
        """Which letter it is, as an event's history has it."""
        return f"{self.kind}, reminder {self.reminder}" if self.reminder else self.kind


@dataclass(frozen=True, slots=True)
class FallbackEmail:
    """What one user is told about a meeting that got the last resort (contract §2)."""

    reader: Reader
    meeting: Meeting
    cause: Cause  #: why it had no link
    #: Of the conference it gets now; None if that is the calendar's own, empty if it is unknown.
    provider_name: str | None
    join_url: str | None  #: the link that it has now; None if Cronofy still makes it


UserEmail: TypeAlias = RelinkEmail | FallbackEmail


@dataclass(frozen=True, slots=True)
class Letter:
    """A finished letter to a user, however it is delivered."""

    kind: str  #: a key of `LETTERS`
    locale: str  #: the language that it is written in: `de`, `pt_BR`
    to: str  #: a plain address
    name: str | None
    subject: str
    text: str
    html: str = field(repr=False)
    #: What it was made of, as JSON can hold it: the variables of the contract (§7).
    parts: Mapping[str, Any] = field(repr=False)
    #: The id of the letter that this one reminds of.
    first: str | None = None


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Whose letters they are (contract §4)."""

    application: str
    logo_url: str | None = None
    color: str = "#1a5fb4"
    support_address: str | None = None

    @property
    def on_color(self) -> str:
        """The colour of words on `color`: whichever of white and black stands out more (WCAG)."""
        channels = [int(self.color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        return "#ffffff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000000"


class TemplateFault(Exception):
    """A template that cannot be used; the message names the file, the line and the reason."""


class Letters:
    """Writes letters in every language, with the company's own templates where there are some."""

    def __init__(self, letterhead: Letterhead, locale: str = "en", own: Path | None = None) -> None:
        """`locale`: the language of users without one. `own`: the directory of the company's templates.

        ValueError if no letter is written in that language.
        """
        self.letterhead = letterhead
        self._own = own
        self._default = parse_locale(locale)
        self._kept: dict[str, _Templates] = {}
        if not self._is_spoken(self._default):
            raise ValueError(f"not a language that letters are written in ({', '.join(self.languages)})")

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Those that letters are written in: translated here, or in a folder of the company's templates."""
        own = self._own.iterdir() if self._own else ()
        folders = {path.name for path in own if path.is_dir() and _LOCALE.fullmatch(path.name)}
        return (*translated(), *sorted(folders - set(translated())))

    def write(self, email: UserEmail) -> Letter:
        """The letter for what one user is told; ValueError if the address is not plain.

        Also if a reminder has no meeting: then none is due (contract §4, `RECONCILER_RELINK_REMINDERS`).
        """
        if isinstance(email, RelinkEmail) and email.reminder and not email.meetings:
            raise ValueError("a reminder needs at least one affected meeting")
        templates = self._templates(email.reader.locale)
        values = self._values(email, templates.language)
        subject = wording.header(templates.render(f"{values['letter']}.subject.txt", values), SUBJECT_LIMIT)
        values["subject"] = subject
        to = mail_address(email.reader.address)
        return Letter(
            kind=values["letter"],
            locale=str(templates.language.locale),
            to=to.addr_spec,
            name=email.reader.name,
            subject=subject,
            text=templates.render(f"{values['letter']}.body.txt", values),
            html=templates.render(f"{values['letter']}.body.html", values),
            parts=values,
            first=email.first if isinstance(email, RelinkEmail) else None,
        )

    def check(self) -> None:
        """Write every letter in every language, about made-up meetings; TemplateFault if one cannot be."""
        for locale in self.languages:
            for _, email in samples(locale):
                letter = self.write(email)
                for name, text in (("subject.txt", letter.subject), ("body.txt", letter.text)):
                    if not text.strip():
                        raise TemplateFault(f"{letter.kind}.{name} in {locale} is empty")

    def own_files(self, kind: str) -> list[str]:
        """The company's own files for the parts of a letter, in any language."""
        templates = [self._templates(locale) for locale in self.languages]
        files = {each.own_file(f"{kind}.{part}") for each in templates for part in PARTS}
        return sorted(file for file in files if file)

    def _templates(self, wanted: str | None) -> _Templates:
        """Of the language that was asked for, if there are letters in it; otherwise of the default."""
        locale = self._default
        with suppress(ValueError):
            asked = parse_locale(wanted or "")
            locale = asked if self._is_spoken(asked) else locale
        name = str(locale)
        if name not in self._kept:
            self._kept[name] = _Templates(language(locale), self._own)
        return self._kept[name]

    def _is_spoken(self, locale: Locale) -> bool:
        return speaks(locale) or bool({str(locale), locale.language} & set(self.languages))

    def _values(self, email: UserEmail, spoken: Language) -> dict[str, Any]:
        """What templates are given: plain values on one line each, since names come from others."""
        head, reader = self.letterhead, email.reader
        values: dict[str, Any] = {
            "application": wording.line(head.application, 80),
            "logo_url": head.logo_url,
            "color": head.color,
            "on_color": head.on_color,
            "support_address": head.support_address,
            "locale": str(spoken.locale),
            "lang": spoken.tag,
            "direction": spoken.direction,
            "start": "right" if spoken.direction == "rtl" else "left",
            "name": wording.line(reader.name or "", 80),
            "provider_name": email.provider_name,
        }
        if isinstance(email, FallbackEmail):
            service = _replacing(email.provider_name, spoken)
            why = spoken.catalogue.gettext(_WHY.get(email.cause, _WHY[Cause.GENERATING]))
            meeting = _shown(email.meeting, reader, spoken)
            about = {"meeting": meeting, "cause": email.cause.value, "why": why, "link": email.join_url}
            return values | about | {"letter": "fallback", "service": service}
        meetings = sorted(email.meetings, key=_soonest_first)
        service = _service(email, spoken)
        profile = wording.line(email.profile_name or "", 100)
        named_alike = profile.casefold() in {service.casefold(), (email.provider_name or "").casefold()}
        return values | {
            "letter": email.kind,
            "service": service,
            "is_calendar": email.is_calendar,
            # Many profiles are named after their service: "Zoom. Account: Zoom" is redundant.
            "profile": "" if named_alike else profile,
            "link": email.relink_url,
            "is_private": email.kind != "reconnect",
            "reminder": email.reminder,
            "is_reminder": email.reminder > 0,
            "meetings": [_shown(meeting, reader, spoken) for meeting in meetings[:LISTED_MEETINGS]],
            "count": len(meetings),
            "more": max(0, len(meetings) - LISTED_MEETINGS),
        }


def _service(email: RelinkEmail, spoken: Language) -> str:
    """What people call what is to be connected."""
    say = spoken.catalogue.gettext
    known = wording.line(email.provider_name or "")
    if email.is_calendar:
        calendar = say("your %(provider)s calendar") % {"provider": wording.provider(email.provider_name)}
        return calendar if known else say("your calendar")
    return wording.provider(email.provider_name) if known else say("conferencing")


def _replacing(provider_name: str | None, spoken: Language) -> str:
    """What people call what makes a meeting's other link."""
    if provider_name is None:
        return spoken.catalogue.gettext("the calendar's own conferencing")
    return wording.provider(provider_name) if provider_name else spoken.catalogue.gettext("another service")


def _shown(meeting: Meeting, reader: Reader, spoken: Language) -> dict[str, Any]:
    return {
        "summary": wording.line(meeting.summary, 200),
        "when": spoken.when(meeting.start, reader.tzid or meeting.tzid),
        "start": meeting.start.isoformat() if meeting.start else None,
        "calendar_id": wording.line(meeting.calendar_id, 1024),
        "event_id": wording.line(meeting.event_id, 1024),
    }


def _soonest_first(meeting: Meeting) -> tuple[bool, datetime]:
    """Order meetings by start, unknown ones last."""
    if meeting.start is None:
        return True, datetime.max.replace(tzinfo=UTC)
    return False, wording.instant(meeting.start, meeting.tzid)


class _Templates:
    """The templates of one language."""

    def __init__(self, spoken: Language, own: Path | None) -> None:
        self.language = spoken
        built_in = PackageLoader("worker.mail", "templates/letters")
        loaders: list[BaseLoader] = [built_in, PrefixLoader({"built-in": built_in})]
        if own is not None:
            names = dict.fromkeys((str(spoken.locale), spoken.locale.language))
            loaders.insert(0, FileSystemLoader([*(own / name for name in names), own]))
        # Sandboxed, and given plain values only: a template is text of a company, not code of ours.
        self._environment = ImmutableSandboxedEnvironment(
            loader=ChoiceLoader(loaders),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,  # what was checked at the start is what is used
        )
        self._environment.globals |= {"gettext": self._gettext, "ngettext": self._ngettext}
        self._environment.filters |= {
            "line": wording.line,
            "bdi": _bdi,
            "mailto": _mailto,
            "number": spoken.number,
            "listed": spoken.listed,
        }

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """The template's text; TemplateFault if it is missing something."""
        try:
            text = self._environment.get_template(name).render(values)
            # Japanese has no space between sentences.
            return text.replace("\u3002 ", "\u3002")
        except TemplateSyntaxError as error:
            reason = str(error.message).rstrip(".")
            raise TemplateFault(f"{error.filename or name}, line {error.lineno}: {reason}") from None
        except Exception as error:
            # What a template of the company's own does wrong is as open as Python.
            reason = wording.line(str(error), 300).rstrip(".")
            raise TemplateFault(f"{_place(error, name)}: {reason}") from None

    def own_file(self, name: str) -> str | None:
        """The file of the template, if it is the company's."""
        file = self._environment.get_template(name).filename or ""
        return None if Path(file).is_relative_to(Path(__file__).parent) else file

    @pass_eval_context
    def _gettext(self, context: EvalContext, message: str, /, **values: Any) -> str:
        return _filled(context, self.language.catalogue.gettext(message), values)

    @pass_eval_context
    def _ngettext(self, context: EvalContext, one: str, many: str, count: int, /, **values: Any) -> str:
        message = self.language.catalogue.ngettext(one, many, count)
        return _filled(context, message, {"num": self.language.number(count), **values})


def _filled(context: EvalContext, message: str, values: Mapping[str, Any]) -> str:
    return Markup(message) % values if context.autoescape else message % values  # noqa: S704 - escapes them


def _bdi(text: str) -> Markup:
    """Words of unknown direction, which must not turn the sentence around them.

    Gmail, Outlook and Yahoo drop the element `bdi`, but keep this.
    """
    return Markup('<span dir="auto">{}</span>').format(text)


def _mailto(address: str) -> Markup:
    return Markup('<a href="mailto:{0}" style="color: inherit">{0}</a>').format(address)


def _place(error: Exception, name: str) -> str:
    """Where in which template an error was raised."""
    # Jinja gives the frames of templates their own files and lines.
    frames = reversed(extract_tb(error.__traceback__))
    found = (f"{each.filename}, line {each.lineno}" for each in frames if each.filename.endswith(_SUFFIXES))
    return next(found, name)


def samples(locale: str | None = None) -> Iterator[tuple[str, UserEmail]]:
    """A few emails of each letter about made-up meetings, each with its occasion."""
    reader = Reader("dana@example.org", "Dana", locale, "Europe/Berlin")
    start = datetime(2030, 12, 2, 9, 0, tzinfo=UTC)
    summaries = ("Interview: Sam Lee", "Team weekly", "Offsite", "Portfolio review", "Welcome")
    meetings = tuple(
        Meeting(summary, start + timedelta(hours=26 * n), "Europe/Berlin", "cal_n23k", f"booking-{77 + n}")
        for n, summary in enumerate(summaries)
    )
    all_day = replace(meetings[0], start=date(2030, 12, 3), summary="")
    link = "https://app.cronofy.com/conferencing_profiles/relink/8d1f3c0b5a7e4f62"
    asked = RelinkEmail(reader, "zoom", "dana@acme.example", link, meetings[:3], 0)
    nobody = replace(asked, reader=replace(reader, name=None, tzid=None))
    for kind in ("relink", "connect", "reconnect"):
        first = replace(asked, kind=kind, profile_name=asked.profile_name if kind == "relink" else None)
        yield kind, first
        yield kind, replace(first, meetings=meetings[:1], reminder=2, first="0" * 32)
        yield kind, replace(first, meetings=meetings * 11)
    yield "relink", replace(nobody, provider_name="google", is_calendar=True, meetings=(all_day,))
    yield "relink", replace(nobody, provider_name=None, profile_name=None, meetings=())
    room = FallbackEmail(
        reader, meetings[0], Cause.PROVIDER_OUTAGE, None, "https://meet.example.com/8d1f3c0b5a"
    )
    yield "fallback", room
    yield "fallback", replace(room, reader=nobody.reader, provider_name="ms_teams", join_url=None)
