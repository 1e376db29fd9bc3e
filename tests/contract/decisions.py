"""The decision table of ``docs/causes.md``, made by asking the diagnosis itself.

    python -m tests.contract.decisions

writes it anew. Each situation is written down here in words and as values; what is made of it is the
code's own answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.report import put
from tests.contract.documents import ROOT
from tests.unit.builders import (
    CONNECTED,
    DAY,
    EXPIRED,
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
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Missing, Observation, Profiles, Request, Unauthorized

DOCUMENT = ROOT / "docs" / "causes.md"
NAME = "decisions"

OTHER = userinfo(profile("pro_b"))
TWO = userinfo(profile("pro_b"), profile("pro_c"))
NONE_LEFT = userinfo(lapsed("pro_b"))
SWITCHED_OFF = userinfo(calendars=(calendar(integrated=False),))
CALENDAR_LAPSED = userinfo(calendars=(calendar(lapsed("pro_google", provider="google")),))
SOON = seen(at(NOW + 30 * MINUTE))


@dataclass(frozen=True)
class Situation:
    """What is known of an event, in words and as values."""

    words: str
    asked: Request
    sighting: Sighting
    profiles: Profiles | None = None


#: In the order in which the diagnosis decides: a row counts where none above it fits.
SITUATIONS = (
    Situation("Cronofy refuses the account", request(), Unauthorized("The grant is gone.")),
    Situation("two reads do not show the event, the second the wider", request(), Missing()),
    Situation("the event is deleted", request(), seen(deleted=True)),
    Situation("the event has a join URL", request(), seen(join_url="https://zoom.example/j/1")),
    Situation("its start is not after now", request(), seen(at(NOW - MINUTE))),
    Situation("its profile is in UserInfo, disconnected", request(), seen(), EXPIRED),
    Situation("its profile is not in UserInfo; exactly one other fits the policy", request(), seen(), OTHER),
    Situation("its profile is not in UserInfo; two others fit", request(), seen(), TWO),
    Situation("its profile is not in UserInfo; none fits", request(), seen(), NONE_LEFT),
    Situation(
        "its profile is not in UserInfo; the one that fits was tried already",
        request(wrote=frozenset({"pro_b"})),
        seen(),
        OTHER,
    ),
    Situation("UserInfo lists no conferencing profiles at all", request(), seen(), userinfo(listed=False)),
    Situation(
        "`conferencing_failing` was notified, without a subtype", request(notice=failing()), seen(), CONNECTED
    ),
    Situation(
        "`conferencing_failing` was notified with `missing_meeting_url`",
        request(notice=failing("missing_meeting_url")),
        seen(),
        CONNECTED,
    ),
    Situation(
        "it asked for `integrated`; its calendar's own profile is disconnected",
        request("integrated"),
        seen(),
        CALENDAR_LAPSED,
    ),
    Situation(
        "it asked for `integrated`, older than GRACE; UserInfo says that the calendar has none",
        request("integrated", age=HOUR),
        seen(),
        SWITCHED_OFF,
    ),
    Situation("pending for longer than ESCALATE_AFTER", request(age=2 * DAY), seen(), CONNECTED),
    Situation(
        "past GRACE, with less than ESCALATE_BEFORE left to its start", request(age=HOUR), SOON, CONNECTED
    ),
    Situation(
        "`profile_missing` was notified, and UserInfo shows the profile connected",
        request(notice=failing("profile_missing")),
        seen(),
        CONNECTED,
    ),
    Situation("its profile is connected; younger than GRACE", request(), seen(), CONNECTED),
    Situation("its profile is connected; older than GRACE", request(age=HOUR), seen(), CONNECTED),
    Situation(
        "it asked for `default`; a profile is disconnected, and others are not",
        request("default"),
        seen(),
        userinfo(profile("pro_a"), lapsed("pro_b")),
    ),
)


def table() -> str:
    """The table as Markdown."""
    lines = ["| what is known | cause | certainty | remedy |", "|---|---|---|---|"]
    for situation in SITUATIONS:
        found = diagnose(situation.asked, Observation(situation.sighting, situation.profiles), NOW, POLICY)
        cause = f"`{found.cause}`" if found.cause else f"none: `{found.state}`"
        lines.append(f"| {situation.words} | {cause} | {found.certainty} | `{found.remedy}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    put(DOCUMENT, NAME, table())
