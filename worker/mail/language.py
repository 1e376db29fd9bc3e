"""The languages that users are written in: sentences by gettext, dates, numbers and lists by Babel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Final

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, get_timezone_name
from babel.lists import format_list
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from worker.diagnosis.times import known_zone, names_zone

CATALOGUES: Final = Path(__file__).parent / "locales"
#: The language of the sentences in the templates themselves.
SOURCE: Final = "en"


def N_(message: str) -> str:
    """A sentence that is translated where it is used."""
    return message


@dataclass(frozen=True, slots=True)
class Language:
    """One language, as it is spoken in one place if the locale says so: `en`, `en_GB`, `pt_BR`."""

    locale: Locale
    catalogue: NullTranslations

    @property
    def tag(self) -> str:
        """As HTML names it: `pt-BR`."""
        return str(self.locale).replace("_", "-")

    @property
    def direction(self) -> str:
        """`ltr` or `rtl`."""
        return self.locale.text_direction

    def number(self, value: int) -> str:
        """A number as it is written there."""
        return format_decimal(value, locale=self.locale)

    def listed(self, items: Sequence[str]) -> str:
        """Several things in one sentence: `a, b and c`."""
        return format_list(list(items), locale=self.locale)

    def when(self, start: datetime | date | None, tzid: str | None) -> str:
        """When a meeting starts, in the zone `tzid`, with the zone's name; in UTC if it is unknown."""
        if start is None:
            return self.catalogue.gettext("time unknown")
        if not isinstance(start, datetime):
            day = format_date(start, "full", locale=self.locale)
            return self.catalogue.gettext("%(day)s (all day)") % {"day": day}
        zone = known_zone(tzid) if names_zone(tzid) else None
        try:
            local = start.astimezone(zone or UTC)
        except OverflowError:  # the last hours of year 9999, which some calendars use for "no date"
            return self.catalogue.gettext("time unknown")
        name = "UTC" if zone is None or zone.key in _UTC else get_timezone_name(local, locale=self.locale)
        day = format_date(local, "full", locale=self.locale)
        joined = self.locale.datetime_formats["long"].replace("'", "")
        time = format_time(local, "short", locale=self.locale)
        # Some fonts of mail clients draw the narrow space before AM as nothing, or as a box.
        return f"{joined.format(time, day)} ({name})".replace("\u202f", "\xa0")


_UTC: Final = frozenset({"UTC", "Etc/UTC", "Etc/GMT", "GMT"})


def parse_locale(text: str) -> Locale:
    """The locale that a tag such as `de`, `pt-BR` or `en_GB` names; ValueError if it names none."""
    try:
        return Locale.parse(text.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError):
        raise ValueError("not a language tag such as de or pt-BR") from None


@cache
def translated() -> tuple[str, ...]:
    """The languages that this program has sentences in, English first."""
    return SOURCE, *sorted({path.stem for path in CATALOGUES.glob("*.[pm]o")} - {SOURCE})


def language(locale: Locale) -> Language:
    """The language for this locale: with its own sentences or, if there are none, in English."""
    return Language(locale, _catalogue(_best(locale) or SOURCE))


def first_spoken(*wanted: str | None) -> Language:
    """The language of the first of these tags that there are sentences for, otherwise English."""
    for tag in wanted:
        with suppress(ValueError):
            locale = parse_locale(tag or "")
            if speaks(locale):
                return language(locale)
    return language(Locale(SOURCE))


def speaks(locale: Locale) -> bool:
    """Whether there are sentences in the language of this locale."""
    return _best(locale) is not None


def _best(locale: Locale) -> str | None:
    """The catalogue for this locale: of the same place, of the language, or of it in another place."""
    known = translated()
    names = [str(locale), locale.language, *(n for n in known if n.partition("_")[0] == locale.language)]
    return next((name for name in names if name in known), None)


@cache
def _catalogue(name: str) -> NullTranslations:
    if name == SOURCE:
        return NullTranslations()
    compiled, source = CATALOGUES / f"{name}.mo", CATALOGUES / f"{name}.po"
    # An installed program has the compiled one alone; in a checkout, it may be older than its source.
    if compiled.exists() and not (source.exists() and source.stat().st_mtime > compiled.stat().st_mtime):
        with compiled.open("rb") as file:
            return GNUTranslations(file)
    catalogue = BytesIO()
    with source.open("rb") as text:
        write_mo(catalogue, read_po(text, locale=name))
    catalogue.seek(0)
    return GNUTranslations(catalogue)
