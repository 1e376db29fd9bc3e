"""The ten languages of letters to users: complete, with their placeholders, as people write there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from babel.messages.catalog import Message

from tests.contract.catalogues import extracted, stored
from tests.unit.emails import DANA, LETTERS, RELINK, WEEKLY
from worker.mail.language import CATALOGUES, first_spoken, language, parse_locale, translated
from worker.mail.letters import LETTERS as KINDS
from worker.mail.letters import Letterhead, Letters, Reader, samples

LANGUAGES = ("en", "ar", "de", "es", "fr", "it", "ja", "nl", "pl", "pt_BR")
PLACEHOLDER = re.compile(r"%\(\w+\)s|%")
#: Plural forms in which a number may go without saying: exactly one, and in Arabic none and two.
SAID_IN_WORDS = {"ar": {0, 1, 2}}


def test_there_are_ten_languages() -> None:
    assert translated() == LANGUAGES
    assert LETTERS.languages == LANGUAGES


@pytest.mark.parametrize("locale", LANGUAGES[1:])
def test_every_sentence_is_translated_with_its_placeholders(locale: str) -> None:
    """None is missing, left over, fuzzy or empty, in any plural form, or has other placeholders."""
    wanted = {message.id: message for message in extracted() if message.id}
    catalogue = stored(CATALOGUES / f"{locale}.po")
    given = {message.id: message for message in catalogue if message.id}

    assert given.keys() == wanted.keys()
    assert [fault for message in given.values() for fault in _faults(message, locale)] == []
    plurals = {len(message.string or ()) for message in given.values() if message.pluralizable}
    assert plurals == {catalogue.num_plurals}


def _faults(message: Message, locale: str) -> Iterator[str]:
    ids, texts = (
        [str(form) for form in (value if isinstance(value, tuple | list) else [value])]
        for value in (message.id, message.string)
    )
    if message.fuzzy:
        yield f"{message.id} is fuzzy"
    for place, text in enumerate(texts):
        needed = set(PLACEHOLDER.findall(ids[-1]))
        found = set(PLACEHOLDER.findall(text))
        in_words = len(texts) > 1 and place in SAID_IN_WORDS.get(locale, {0})
        if not text.strip() or (found != needed and not (in_words and found == needed - {"%(num)s"})):
            yield f"{message.id}: {text!r}"


@pytest.mark.parametrize("locale", LANGUAGES)
def test_every_letter_is_written_in_every_language(locale: str) -> None:
    """Each in its own words and direction, none with an English sentence of another language's letter."""
    written = [LETTERS.write(email) for _, email in samples(locale)]

    assert {letter.kind for letter in written} == set(KINDS)
    for letter in written:
        direction = "rtl" if locale == "ar" else "ltr"
        assert f'<html lang="{locale.replace("_", "-")}" dir="{direction}"' in letter.html
        assert letter.locale == locale
        assert "%(" not in letter.subject + letter.text + letter.html
        english = "creates the video links" in letter.text
        assert english is (locale == "en")


@pytest.mark.parametrize(
    ("given", "written", "when"),
    [
        ("de", "de", "Dienstag, 1. Dezember 2026, 10:00 (Mitteleuropäische Normalzeit)"),
        ("de-AT", "de_AT", "Dienstag, 1. Dezember 2026, 10:00 (Mitteleuropäische Normalzeit)"),
        ("en-GB", "en_GB", "Tuesday, 1 December 2026, 10:00 (Central European Standard Time)"),
        ("pt", "pt", "terça-feira, 1 de dezembro de 2026 10:00 (Horário Padrão da Europa Central)"),
        ("pt_br", "pt_BR", "terça-feira, 1 de dezembro de 2026 10:00 (Horário Padrão da Europa Central)"),
        ("ja", "ja", "2026年12月1日火曜日 10:00 (中央ヨーロッパ標準時)"),
        ("sv", "fr", "mardi 1 décembre 2026, 10:00 (heure normale d’Europe centrale)"),
        ("not a language", "fr", "mardi 1 décembre 2026, 10:00 (heure normale d’Europe centrale)"),
        (None, "fr", "mardi 1 décembre 2026, 10:00 (heure normale d’Europe centrale)"),
    ],
)
def test_a_user_reads_their_language_and_otherwise_the_default(
    given: str | None, written: str, when: str
) -> None:
    """Dates, too, are written as in their country; the zone is named, in words."""
    letters = Letters(Letterhead("Acme"), "fr")
    letter = letters.write(replace(RELINK, reader=replace(DANA, locale=given)))

    assert letter.locale == written
    assert when in letter.text


def test_sentences_follow_each_other_as_they_do_in_the_language() -> None:
    """With a space, but not in Japanese; no letter has the narrow space, which some clients cannot draw."""
    for locale in LANGUAGES:
        for _, email in samples(locale):
            letter = LETTERS.write(email)
            for text in (letter.subject, letter.text, letter.html):
                assert "\u3002 " not in text
                assert "\u202f" not in text


def test_times_are_in_the_users_zone_if_it_is_known() -> None:
    """Otherwise in the meeting's own."""
    email = replace(RELINK, reader=Reader("dana@example.org", tzid="Asia/Tokyo"))

    assert "6:00\xa0PM (Japan Standard Time)" in LETTERS.write(email).text
    assert "10:00\xa0AM (Central European Standard Time)" in LETTERS.write(RELINK).text


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "jedno nadchodzące spotkanie nie ma"),
        (2, "2 nadchodzące spotkania nie mają"),
        (5, "5 nadchodzących spotkań nie ma"),
        (22, "22 nadchodzące spotkania nie mają"),
    ],
)
def test_plural_forms_follow_the_language(count: int, words: str) -> None:
    """Polish has three."""
    email = replace(RELINK, meetings=(WEEKLY,) * count, reader=replace(DANA, locale="pl"))
    assert words in LETTERS.write(email).text


def test_a_language_without_letters_cannot_be_the_default() -> None:
    """The sentence names those that there are."""
    for text in ("sv", "xx", "not a language"):
        with pytest.raises(ValueError, match="not a language"):
            Letters(Letterhead("Acme"), text)


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [
        (("pt", "de"), "pt"),
        (("sv", "de"), "de"),
        ((None, "ar"), "ar"),
        (("not a language", "sv"), "en"),
    ],
)
def test_a_page_is_in_the_first_language_that_has_our_sentences(
    wanted: tuple[str | None, str], spoken: str
) -> None:
    """Otherwise in English: a language that only a company's own letters are in has no pages."""
    assert first_spoken(*wanted).tag == spoken


def test_numbers_and_lists_are_written_as_people_there_do() -> None:
    german, english = language(parse_locale("de")), language(parse_locale("en"))
    assert (german.number(1234), english.number(1234)) == ("1.234", "1,234")
    assert german.listed(["a", "b", "c"]) == "a, b und c"
    assert english.when(datetime(2026, 12, 1, 9, tzinfo=UTC), None).endswith("(UTC)")


@pytest.mark.parametrize("locale", LANGUAGES)
def test_mail_programs_take_a_letter_as_it_is(locale: str) -> None:
    """Gmail drops styles beyond 8 KiB and cuts a message beyond 102 KiB; nothing is loaded from elsewhere."""
    for _, email in samples(locale):
        html = LETTERS.write(email).html
        [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
        assert len(style) < 8192
        assert len(html.encode()) < 102 * 1024
        assert not re.search(r"<(script|link|img|iframe|form)|url\(|@import", html)
        assert html.count("<title>") == html.count("<body") == 1
