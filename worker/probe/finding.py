"""What a probe asks, what it concludes, and what it concludes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.cronofy.wire import objects_in
from worker.probe.asking import Reply

#: The answer to a question that the replies do not settle.
OPEN = "open"


class Unsettled(Exception):
    """The replies do not settle the question; says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """The replies that a run collected, by the name of the call."""

    replies: Mapping[str, Reply]
    #: What the run itself chose.
    calendar_id: str = ""
    event_id: str = ""
    profile_id: str = ""

    def reply(self, name: str) -> Reply:
        """The reply to a call; Unsettled if it was not made, or failed."""
        reply = self.replies.get(name)
        if reply is None:
            raise Unsettled("Not asked.")
        if reply.failed:
            raise Unsettled(reply.failed)
        return reply

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object of a 200; Unsettled otherwise."""
        reply = self.reply(name)
        if reply.status != 200 or not isinstance(reply.body, dict):
            raise Unsettled(f"Answered with {reply.status}, not with a JSON object.")
        return reply.body

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a page of Read Events; Unsettled if the answer is no such page."""
        events = self.json(name).get("events")
        if not isinstance(events, list):
            raise Unsettled("The answer has no list of events.")
        return objects_in(events)

    def own(self, name: str) -> dict[str, Any]:
        """The probe's own event as a read shows it; Unsettled if it does not."""
        found = self.find_own(name)
        if found is None:
            raise Unsettled("No read showed the event as written in the time given.")
        return found

    def find_own(self, name: str) -> dict[str, Any] | None:
        """The same; None if the read does not show it."""
        mine = [event for event in self.events(name) if event.get("event_id") == self.event_id]
        return mine[-1] if mine else None


#: Makes a word and the evidence of the replies; pure; raises Unsettled.
Judge = Callable[[Record], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that the reference does not know."""

    name: str
    #: The section of docs/cronofy-api.md.
    section: str
    asks: str
    #: What the program assumes meanwhile.
    assumed: str
    judge: Judge
    #: The words that the assumption allows for; any, if there are none.
    holds: tuple[str, ...]


def asked(
    questions: list[Question], name: str, section: str, assumed: str, holds: tuple[str, ...] = ()
) -> Callable[[Judge], Judge]:
    """Add to these a question: the decorated function judges it, and its docstring asks it."""

    def add(judge: Judge) -> Judge:
        questions.append(Question(name, section, judge.__doc__ or "", assumed, judge, holds))
        return judge

    return add


@dataclass(frozen=True, slots=True)
class Finding:
    """One question with its answer."""

    question: Question
    word: str
    evidence: str

    @property
    def as_assumed(self) -> bool | None:
        """Whether the program's assumption allows for the answer; None while it is open."""
        if self.word == OPEN:
            return None
        return not self.question.holds or self.word in self.question.holds

    @property
    def as_json(self) -> dict[str, Any]:
        """The finding as in the contract (§6)."""
        return {
            "name": self.question.name,
            "section": self.question.section,
            "question": self.question.asks,
            "answer": self.word,
            "assumed": self.question.assumed,
            "as_assumed": self.as_assumed,
            "evidence": self.evidence,
        }


def judge(questions: Iterable[Question], record: Record) -> list[Finding]:
    """The answers to these questions."""
    return [_judged(question, record) for question in questions]


def _judged(question: Question, record: Record) -> Finding:
    try:
        return Finding(question, *question.judge(record))
    except Unsettled as why:
        return Finding(question, OPEN, str(why))
