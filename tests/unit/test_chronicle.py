"""The full answer: history, what comes next, what can be done, all formatted for a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.settings import Settings
from tests.unit.builders import (
    CONNECTED,
    DAY,
    EXPIRED,
    HOUR,
    MINUTE,
    NOW,
    concluded,
    event_body,
    failing,
    profile,
    tracked,
    userinfo,
)
from tests.unit.cases import asked, case, looked_at
from tests.unit.test_reply import ROWS
from worker.diagnosis.model import Cause, LastResort, Rung, TokenOwed
from worker.explain.case import Case, Delivery
from worker.explain.chronicle import following, history, what_helps
from worker.explain.explanation import in_lines
from worker.explain.reply import reply
from worker.ledger.records import EventKey, Write, to_ms

WITH_LAST_RESORT = Settings(fallback=("integrated",))
OLD = tracked(age=3 * HOUR)
#: What its last look found, with the last resort still ahead.
PLANNED = replace(
    concluded(OLD, profiles=CONNECTED).diagnosis,
    last_resort=LastResort(Rung.EXPLICIT, "explicit", NOW + HOUR / 2),
).as_json


def printed(asked_about: Case, width: int = 80) -> str:
    """What the command prints."""
    return "".join(f"{''.join(text for text, _ in line)}\n" for line in in_lines(asked_about, width))


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("asked_about", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_case_is_shown_in_full_within_the_width(asked_about: Case, width: int) -> None:
    """The two sentences come first; no section is empty; no line is too long or ends in blanks."""
    text = printed(asked_about, width)

    assert " ".join(text.partition("\n\n")[0].split()) == " ".join(reply(asked_about))
    for title in ("Evidence", "History", "What happens next", "What you can do", "Particulars"):
        assert f"\n{title}" in text
    assert all(following(asked_about))
    assert all(sentence.endswith((".", "?")) for sentence in what_helps(asked_about))
    lines = text.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert max(map(len, lines)) <= width
    assert "\x1b" not in text


def test_ids_are_never_broken_so_that_they_can_be_copied() -> None:
    """However long they are."""
    key = EventKey(f"cal_{'c' * 200}", f"event-{'e' * 200}")
    text = printed(case(replace(OLD, key=key)))

    assert f"calendar {key.calendar_id}\n" in text
    assert f"event    {key.event_id}\n" in text


def test_user_text_cannot_control_the_terminal() -> None:
    """Escape sequences, line breaks and bidi controls are removed from summary and ids."""
    nasty = "Sync\x1b[2J\nState: fine\u202eevil"
    event = replace(OLD, key=EventKey("cal\x1b]0;x\x07", "e\u202e1"), body=event_body() | {"summary": nasty})
    text = printed(case(event))

    assert "Sync[2J State: fineevil" in text
    assert not any(character in text for character in "\x1b\x07\u202e")


def test_the_history_lists_everything_in_order() -> None:
    """What the caller did, each look, notifications, writes, and the email."""
    event = looked_at(OLD, profiles=CONNECTED, notice=failing())
    event = replace(event, writes={"pro_b": Write(to_ms(NOW + MINUTE), accepted=True)})
    told = history(case(event, episode=asked()))

    assert [(entry.at, entry.text) for entry in told] == [
        (NOW - DAY, "profile disconnected: relink email written"),
        (NOW - 3 * HOUR, "received: tracked"),
        (NOW - 5 * MINUTE, "notified: conferencing_failing: noted"),
        (NOW, "service is failing: waited"),
        (NOW + MINUTE, "Update Event was accepted: profile pro_b set"),
    ]


def test_a_lost_account_closes_no_event() -> None:
    """Its events stay pending, so the history does not say closed."""
    lost = replace(OLD, history=((to_ms(NOW), "account_unauthorized", "close"),))

    assert history(case(lost))[-1].text == "no access to the account: no calls until it is connected"


def test_a_parked_event_is_not_blamed_on_a_token_that_came_since() -> None:
    """Its last diagnosis was made while the application owed one; the account is not lost."""
    owed = looked_at(OLD, TokenOwed(NOW))
    parked = case(replace(owed, parked="Parked: 5 looks in a row failed.", next_look=None))

    assert case(owed).lacks_token
    assert history(case(owed))[-1].text == "no access to the account: waited"
    assert (parked.lacks_token, parked.cause) == (False, Cause.GENERATING)
    assert "dead-letters" in what_helps(parked)[1]


def test_repeated_looks_are_one_line() -> None:
    """It gives their number and the last time; a failed look in between has its own line."""
    waits = [(to_ms(NOW + n * MINUTE), "generating", "wait") for n in range(5)]
    failed = (to_ms(NOW + 5 * MINUTE), "look_failed", "Cronofy cannot be reached.")
    told = history(case(replace(OLD, history=(*waits, failed))))

    assert [entry.text for entry in told[1:]] == [
        "still being created: waited (5 times, last at 2026-12-01 12:04:00)",
        "look failed: Cronofy cannot be reached.",
    ]


@pytest.mark.parametrize(
    ("asked_about", "says"),
    [
        pytest.param(
            case(looked_at(OLD, profiles=EXPIRED), episode=asked(2), delivery=Delivery.SENT),
            "Next reminder email: 2026-12-03 12:00:00 UTC, unless the user reconnects first.",
            id="the next reminder",
        ),
        pytest.param(
            case(looked_at(OLD, profiles=EXPIRED), episode=asked(), delivery=Delivery.REFUSED),
            "The mail server refused the latest relink email for good.",
            id="a refused email",
        ),
        pytest.param(
            case(looked_at(OLD, profiles=userinfo(profile("pro_b")))),
            "Profile pro_b will be set by Update Event.",
            id="a replacement",
        ),
        pytest.param(
            case(replace(OLD, failures=2)),
            "The last 2 looks failed; nothing is concluded from that.",
            id="looks that failed",
        ),
        pytest.param(
            case(replace(OLD, last=PLANNED), settings=WITH_LAST_RESORT),
            "Last resort: explicit (explicit), at 2026-12-01 12:30:00 UTC, if it still has no link.",
            id="the last resort",
        ),
        pytest.param(
            case(looked_at(OLD, profiles=CONNECTED), settings=WITH_LAST_RESORT),
            "The last resort is on, but nothing of it is left that fits this event.",
            id="no last resort",
        ),
        pytest.param(
            case(replace(OLD, last=PLANNED), now=NOW + HOUR, settings=WITH_LAST_RESORT),
            "Last resort: explicit (explicit), now.",
            id="the last resort now",
        ),
        pytest.param(
            case(OLD, paused_since=NOW - HOUR),
            "An operator paused the fleet at 2026-12-01 11:00:00 UTC: no looks and no email until resumed.",
            id="a pause",
        ),
    ],
)
def test_what_happens_next_has_its_time(asked_about: Case, says: str) -> None:
    """Next to the next look."""
    assert says in following(asked_about)
    assert any(sentence.startswith("Next look: 2026-12-01 12:0") for sentence in following(asked_about))
