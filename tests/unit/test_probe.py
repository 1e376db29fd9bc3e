"""What the probe makes of answers: any that a server may give, however odd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cronofy.http import Answer
from worker.probe import reads
from worker.probe.asking import Reply, reply_of
from worker.probe.finding import OPEN, Question, Record, judge
from worker.probe.own_questions import OWN_EVENT
from worker.probe.reads import READS

QUESTIONS = {each.name: each for each in (*READS, *OWN_EVENT)}


class _Every(Mapping[str, Reply]):
    """The same reply to every call."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def __getitem__(self, name: str) -> Reply:
        return self.reply

    def __iter__(self) -> Iterator[str]:
        return iter(["userinfo"])

    def __len__(self) -> int:
        return 1


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = ["start", "conferencing", "recurring", "event_id", "location"]
    names += ["join_url", "tzid", "next_page", "total", "status"]
    return st.dictionaries(st.sampled_from(names), inner, max_size=4)


_LEAF = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("2026-11-22T09:00:00Z")
_ODD = st.recursive(_LEAF, lambda inner: st.lists(inner, max_size=3) | _objects(inner), max_leaves=12)
_BODY = st.fixed_dictionaries(
    {},
    optional={
        "events": st.lists(_ODD, max_size=4) | _ODD,
        "pages": _ODD,
        "batch": _ODD,
        "errors": _ODD,
        "sub": _ODD,
        "cronofy.data": st.dictionaries(
            st.sampled_from(["profiles", "conferencing_profiles"]), st.lists(_ODD, max_size=2) | _ODD
        ),
    },
)


@given(_BODY | _ODD, st.sampled_from([200, 202, 207, 401, 404, 422]))
def test_no_answer_breaks_a_question(body: Any, status: int) -> None:
    """It is answered in a few words, or open with the reason."""
    replies = _Every(Reply(status, body, {"www-authenticate": "x"}))

    for finding in judge(QUESTIONS.values(), Record(replies, "cal", "e", "default")):
        assert 0 < len(finding.word) <= 80
        assert finding.evidence


def _page(*events: dict[str, Any]) -> dict[str, Any]:
    return {"pages": {"current": 1, "total": 1}, "events": list(events)}


OCCURRENCE = {"calendar_id": "c", "recurring": True}


@pytest.mark.parametrize(
    ("events", "word"),
    [
        ([{**OCCURRENCE, "event_uid": "u"}, {**OCCURRENCE, "event_uid": "u"}], "shared"),
        ([{**OCCURRENCE, "event_uid": "u"}, {**OCCURRENCE, "event_uid": "v"}], "distinct"),
        ([{**OCCURRENCE, "event_uid": "u"}], OPEN),
    ],
)
def test_a_series_is_told_by_the_ids_of_its_occurrences(events: list[dict[str, Any]], word: str) -> None:
    """Two of them are needed."""
    record = Record({"include_managed": Reply(200, _page(*events))})
    [finding] = judge([QUESTIONS["events.series"]], record)

    assert finding.word == word


@pytest.mark.parametrize(
    ("name", "after", "word"),
    [
        ("update.description", {"description": "x"}, "kept"),
        ("update.description", {"description": ""}, "cleared"),
        ("update.location", {"location": {"description": "x"}}, "kept"),
        ("update.location", {}, "cleared"),
    ],
)
def test_what_an_update_leaves_out_is_kept_or_cleared(name: str, after: dict[str, Any], word: str) -> None:
    """Told by the read that shows the update."""
    before = {"event_id": "e", "description": "x", "location": {"description": "x"}}
    record = Record(
        {
            "pending": Reply(200, _page(before)),
            "omitted, read": Reply(200, _page({"event_id": "e", **after})),
        },
        event_id="e",
    )

    [finding] = judge([QUESTIONS[name]], record)
    assert finding.word == word


def test_an_answer_that_the_program_does_not_allow_for_is_told() -> None:
    """None while the question is open."""
    question: Question = QUESTIONS["batch.status"]
    body = {"batch": [{"status": 404}, {"status": 422}, {"status": 422}]}

    def assumed(reply: Reply) -> bool | None:
        [finding] = judge([question], Record({"batch": reply}))
        return finding.as_assumed

    assert assumed(Reply(207, body)) is True
    assert assumed(Reply(299, body)) is False
    assert assumed(Reply(0, failed="Cronofy answered 503.")) is None


@pytest.mark.parametrize(
    ("calendar_id", "written"),
    [("cal_U9@EA", "cal_U9%40EA"), ("cal_abc", "cal_ab%63"), ("cal é", "cal%20%C3%A9")],
)
def test_an_id_is_encoded_at_its_at_sign_or_else_at_its_end(calendar_id: str, written: str) -> None:
    """An address that a server must decode to find the calendar."""
    assert reads.coded(calendar_id) == written


def test_a_server_error_is_no_answer_and_a_page_of_html_has_no_body() -> None:
    """Neither settles anything."""
    assert reply_of(Answer(503, b"{}")).failed
    assert reply_of(Answer(200, b"<html>")).body is None
