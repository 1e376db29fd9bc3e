"""The reference and the probe agree on what is unknown, and how it is settled."""

from __future__ import annotations

import re

from tests.contract.documents import code, reference, table
from worker.probe.by_hand import BY_HAND
from worker.probe.finding import OPEN
from worker.probe.own_questions import OWN_EVENT
from worker.probe.reads import READS

QUESTIONS = (*READS, *OWN_EVENT)
#: Where a section of the reference says that something is unknown.
UNKNOWN = re.compile(r"\*\*\[UNKNOWN[\]/ ]")


def test_the_reference_lists_every_question_of_the_probe() -> None:
    """In order, with the same words; a star marks what needs the event."""
    rows = table("docs/cronofy-unknown.md", "probe")

    assert [(*code(row[0]), row[0].endswith("*"), *row[1:]) for row in rows] == [
        (each.name, each in OWN_EVENT, each.section, each.asks, each.assumed) for each in QUESTIONS
    ]


def test_the_reference_lists_what_only_a_person_can_settle() -> None:
    """As the command prints it."""
    rows = table("docs/cronofy-unknown.md", "by hand")

    assert [tuple(row) for row in rows] == [(each.question, each.section, each.how) for each in BY_HAND]


def test_every_section_with_something_unknown_has_a_way_to_settle_it() -> None:
    """Each is named by a question, or by what is left to people."""
    sections = re.split(r"^## (\d+)\. ", reference(), flags=re.MULTILINE)[1:]
    unknown = {
        f"§{number}"
        for number, text in zip(sections[::2], sections[1::2], strict=True)
        # The first explains the marks.
        if number != "0" and UNKNOWN.search(text)
    }
    ways = [each.section for each in QUESTIONS] + [each.section for each in BY_HAND]
    settled = {section.rstrip("abc") for section in ways}

    assert unknown
    assert unknown <= settled


def test_the_names_are_apart_and_no_answer_is_called_open() -> None:
    """A name is what a script looks for; `open` means that there is no answer."""
    assert len({each.name for each in QUESTIONS}) == len(QUESTIONS)
    assert not any(OPEN in (each.holds) for each in QUESTIONS)
