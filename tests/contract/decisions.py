"""The tables of ``docs/causes.md``, generated from the code.

    python -m tests.contract.decisions

writes them. The decision table has each situation here in words and as values; the outcome is
the diagnosis' own answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from benchmarks.report import put
from tests.contract.documents import ROOT
from tests.unit.builders import (
    CALENDAR_LAPSED,
    CONNECTED,
    DAY,
    EXPIRED,
    HOME,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    Sighting,
    at,
    calendar,
    failing,
    lapsed,
    profile,
    request,
    seen,
    userinfo,
)
from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Cause,
    Chosen,
    Missing,
    Observation,
    Policy,
    Profiles,
    Request,
    Rung,
    Seen,
    TokenOwed,
    Unauthorized,
)

CAUSES = ROOT / "docs" / "causes.md"

OTHER = userinfo(profile("pro_b"))
ANOTHERS = userinfo(profile("pro_b", name="lee"))
TWO = userinfo(profile("pro_b"), profile("pro_c"))
NONE_LEFT = userinfo(lapsed("pro_b"))
ONE_LAPSED = userinfo(profile("pro_a"), lapsed("pro_b"))
OFF = userinfo(calendars=(calendar(integrated=False),))
SOON = seen(at(NOW + 30 * MINUTE))
TRIED = request(wrote=frozenset({"pro_b"}))
CHOSEN = request(chosen=Chosen("pro_c", "Dana"))
FAILING, NO_URL, NO_PROFILE = (
    request(notice=failing(subtype)) for subtype in (None, "missing_meeting_url", "profile_missing")
)
OLD_OWN = request("integrated", age=HOUR)


@dataclass(frozen=True)
class Situation:
    """What is known of an event, in words and as values."""

    words: str
    asked: Request
    sighting: Sighting
    profiles: Profiles | None = None
    unwritable: str | None = None
    policy: Policy = POLICY
    failing_since: datetime | None = None


#: In the order of the diagnosis: a row applies if none above it does.
SITUATIONS = (
    Situation("Cronofy refuses the account", request(), Unauthorized("The grant is gone.")),
    Situation("the application owes an access token", request(), TokenOwed(NOW - MINUTE)),
    Situation(
        "the same past GRACE, with less than ESCALATE_BEFORE left to its start",
        request(age=HOUR, start=at(NOW + 30 * MINUTE)),
        TokenOwed(NOW - HOUR),
    ),
    Situation(
        "two reads, the second one wider, do not show the event; its calendar is in UserInfo, connected",
        request(),
        Missing(),
        HOME,
    ),
    Situation(
        "the same, but its calendar was connected again less than GRACE ago",
        request(lacked_calendar=True),
        Missing(),
        HOME,
    ),
    Situation(
        "the same, but its calendar's profile is disconnected, and by its record its start has passed",
        request(start=at(NOW - MINUTE)),
        Missing(),
        CALENDAR_LAPSED,
    ),
    Situation(
        "the same, but its start has not passed", request(start=at(NOW + DAY)), Missing(), CALENDAR_LAPSED
    ),
    Situation(
        "two reads do not show the event, and UserInfo does not list its calendar",
        request(),
        Missing(),
        CONNECTED,
    ),
    Situation(
        "two reads do not show a series, and its calendar is connected", request(series=True), Missing(), HOME
    ),
    Situation("the event is deleted", request(), seen(deleted=True)),
    Situation("the event is cancelled", request(), seen(cancelled=True)),
    Situation("the event has a join URL", request(), seen(join_url="https://zoom.example/j/1")),
    Situation("its start has passed", request(), seen(at(NOW - MINUTE))),
    Situation(
        "it is a series, and of its occurrences only one that is over is ever shown",
        request(start=at(NOW - DAY)),
        Seen(None, None, series=True),
        CONNECTED,
    ),
    Situation("its profile is in UserInfo, disconnected", request(), seen(), EXPIRED),
    Situation("its profile is not in UserInfo; exactly one other fits the policy", request(), seen(), OTHER),
    Situation(
        "the same, but the event is one of a series, or a write might undo a later change",
        request(),
        seen(),
        OTHER,
        "The event is one of a series.",
    ),
    Situation(
        "its profile is not in UserInfo; the one that fits has another name", request(), seen(), ANOTHERS
    ),
    Situation("its profile is not in UserInfo; two others fit", request(), seen(), TWO),
    Situation("its profile is not in UserInfo; none fits", request(), seen(), NONE_LEFT),
    Situation(
        "the same, with RECONCILER_WEBHOOK_URL",
        request(),
        seen(),
        NONE_LEFT,
        policy=replace(POLICY, connect=True),
    ),
    Situation("its profile is not in UserInfo; the one that fits was tried already", TRIED, seen(), OTHER),
    Situation("its profile is not in UserInfo; two others fit, and a person chose one", CHOSEN, seen(), TWO),
    Situation("UserInfo lists no conferencing profiles at all", request(), seen(), userinfo(listed=False)),
    Situation(
        "its own profile is not at fault, or it has none; its calendar's profile is disconnected",
        request(),
        seen(),
        CALENDAR_LAPSED,
    ),
    Situation("`conferencing_failing` was notified, without a subtype", FAILING, seen(), CONNECTED),
    Situation(
        "the same past GRACE, with less than ESCALATE_BEFORE left to its start, or past ESCALATE_AFTER",
        request(age=HOUR, notice=failing()),
        SOON,
        CONNECTED,
    ),
    Situation(
        "nothing is wrong with it, and its service is known to fail from other events",
        request(),
        seen(),
        CONNECTED,
        failing_since=NOW - HOUR,
    ),
    Situation("`conferencing_failing` was notified with `missing_meeting_url`", NO_URL, seen(), CONNECTED),
    Situation(
        "it asked for `integrated`, older than GRACE; UserInfo says the calendar has none",
        OLD_OWN,
        seen(),
        OFF,
    ),
    Situation("pending for longer than ESCALATE_AFTER", request(age=2 * DAY), seen(), CONNECTED),
    Situation(
        "past GRACE, with less than ESCALATE_BEFORE left to its start", request(age=HOUR), SOON, CONNECTED
    ),
    Situation(
        "`profile_missing` was notified, and UserInfo shows the profile connected",
        NO_PROFILE,
        seen(),
        CONNECTED,
    ),
    Situation("its profile is connected; younger than GRACE", request(), seen(), CONNECTED),
    Situation("its profile is connected; older than GRACE", request(age=HOUR), seen(), CONNECTED),
    Situation(
        "it asked for `default`; a profile is disconnected, and others are not",
        request("default"),
        seen(),
        ONE_LAPSED,
    ),
    Situation(
        "any of the pending ones above, here a disconnected profile; the last resort is on, a rung fits, and "
        "the start is near",
        request(),
        seen(at(NOW + 10 * MINUTE)),
        EXPIRED,
        policy=replace(POLICY, fallback=(Rung.EXPLICIT,)),
    ),
)


def decisions() -> str:
    """What is known of an event, and its diagnosis."""
    rows = []
    for situation in SITUATIONS:
        observation = Observation(
            situation.sighting, situation.profiles, situation.unwritable, situation.failing_since
        )
        found = diagnose(situation.asked, observation, NOW, situation.policy)
        cause = f"`{found.cause}`" if found.cause else f"none: `{found.state}`"
        rows.append((situation.words, cause, found.certainty, f"`{found.remedy}`"))
    return markdown(("what is known", "cause", "certainty", "remedy"), rows)


def causes() -> str:
    """Each cause, what is wrong and what is done."""
    rows = [(f"`{cause}`", TABLE[cause].wrong, TABLE[cause].done) for cause in Cause]
    return markdown(("cause", "what is wrong", "what is done"), rows)


def people() -> str:
    """What a person must do, and each cause's number."""
    rows = [(f"`{cause}`", f"{row.number}", row.person, row.perhaps) for cause, row in TABLE.items()]
    return markdown(("cause", "number", "what a person does", "what may be behind it"), rows)


def markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines) + "\n"


#: Where each goes: the document, and the name of its marks there.
TABLES: tuple[tuple[Path, str, Callable[[], str]], ...] = (
    (CAUSES, "causes", causes),
    (CAUSES, "decisions", decisions),
    (CAUSES, "people", people),
)


if __name__ == "__main__":
    for document, name, table in TABLES:
        put(document, name, table())
