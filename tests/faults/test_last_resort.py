"""A week of meetings that get no link, of every cause, with the last resort and without it.

Each meeting is an account of its own, whose fault begins once the meeting was written. The real scheduling
runs on the simulated clock. ``--long --document docs/fault-tests.md`` puts the table there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from benchmarks.report import Report, Value, put
from tests.faults.callers import Callers
from tests.faults.cronofy import join_url
from tests.faults.simulation import Simulation
from worker.diagnosis.model import Rung

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: How long before its start a meeting is written.
LEADS = (2 * MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY)
#: Everybody's profiles. A service fails for all at once, so only one fault's meetings use that one.
PROFILES = {"z1": "zoom", "z2": "zoom", "t1": "teams", "g1": "go_to"}
Fault = Callable[[Callers, str], None]


def _lapsed(*profiles: str) -> Fault:
    def happen(callers: Callers, sub: str) -> None:
        for profile in profiles:
            callers.lose(sub, profile)

    return happen


def _removed(*profiles: str) -> Fault:
    def happen(callers: Callers, sub: str) -> None:
        for profile in profiles:
            callers.remove(sub, profile)

    return happen


def _nothing(_callers: Callers, _sub: str) -> None:
    return


def _never_made(callers: Callers, sub: str) -> None:
    callers.stick(sub, "e")


def _fails(callers: Callers, sub: str) -> None:
    callers.cronofy.world.outages.add("go_to")
    callers.notify(sub, "e", "conferencing_failing", None)


def _gives_none(callers: Callers, sub: str) -> None:
    callers.cronofy.account(sub).missing_meeting_url = True
    callers.notify(sub, "e", "conferencing_failing", "missing_meeting_url")


def _nothing_works(callers: Callers, sub: str) -> None:
    _lapsed(*PROFILES)(callers, sub)
    for profile in callers.cronofy.account(sub).calendar_profiles:
        for calendar in profile.calendars:
            calendar.integrated_conferencing_available = False


def _deleted(callers: Callers, sub: str) -> None:
    callers.stick(sub, "e")
    callers.delete(sub, "e")


def _cancelled(callers: Callers, sub: str) -> None:
    callers.stick(sub, "e")
    event = callers.cronofy.event(sub, "e")
    assert event is not None
    callers.cronofy.world.cancel(event.calendar_id, "e")


def _refused(callers: Callers, sub: str) -> None:
    callers.stick(sub, "e")
    callers.revoke(sub)


@dataclass(frozen=True, slots=True)
class Kind:
    """What happens to some of the meetings."""

    words: str
    happens: Fault
    profile: str = "z1"
    #: Whether the program may and can write the meeting.
    writable: bool = True


KINDS = (
    Kind("none: the link comes", _nothing),
    Kind("`credentials_expired`: its profile", _lapsed("z1")),
    Kind("`credentials_expired`: all profiles", _lapsed(*PROFILES)),
    Kind("`credentials_expired`: everything, and the calendar has none", _nothing_works),
    Kind("`profile_removed`: none of its provider is left", _removed("z1", "z2")),
    Kind("`profile_removed`: none at all is left", _removed(*PROFILES)),
    Kind("`missing_meeting_url`", _gives_none, "integrated"),
    Kind("`provider_outage`", _fails, "g1"),
    Kind("`unexplained`", _never_made),
    Kind("`unexplained`, asked for `default`", _never_made, "default"),
    Kind("deleted", _deleted, writable=False),
    Kind("cancelled", _cancelled, writable=False),
    Kind("`account_unauthorized`", _refused, writable=False),
)


@dataclass(slots=True)
class Week:
    """How the meetings of a week went, by kind."""

    meetings: Counter[str] = field(default_factory=Counter)
    without: Counter[str] = field(default_factory=Counter)
    rungs: Counter[tuple[str, str]] = field(default_factory=Counter)
    mails: Counter[str] = field(default_factory=Counter)


def test_a_week_of_every_cause(
    simulation: Simulation, long: bool, seed: int, pytestconfig: pytest.Config
) -> None:
    """No meeting that can be written starts without a link, and none that must not be is written."""
    without, having = (_week(simulation, long, seed, on=on) for on in (False, True))

    rows: list[dict[str, Value]] = [_row(kind, without, having) for kind in KINDS]
    writable = [kind.words for kind in KINDS if kind.writable]
    total = sum(having.meetings[words] for words in writable)
    before, after = (sum(week.without[words] for words in writable) for week in (without, having))
    report = Report(
        "last-resort",
        "Meetings that started without a link",
        list(rows[0]),
        rows,
        [
            f"Of {total:,} meetings that could be written, {before / total:.0%} started without a link while "
            f"it was off, and {after / total:.0%} while it was on (`any_connected,integrated,explicit`)."
        ],
        settings={"form": "long" if long else "quick", "seed": seed},
    )
    if long:
        report.write()
        for document in pytestconfig.getoption("--document"):
            put(pytestconfig.invocation_params.dir / document, report.name, report.markdown())
    assert (before > total / 2, after) == (True, 0), report.markdown()
    unwritable = [kind.words for kind in KINDS if not kind.writable]
    assert all(having.without[words] == having.meetings[words] for words in unwritable)
    assert {rung for words, rung in having.rungs if words in unwritable} == set()
    assert sum(having.mails.values()) == sum(having.rungs.values())


def _row(kind: Kind, without: Week, having: Week) -> dict[str, Value]:
    return {
        "what happens": kind.words,
        "meetings": having.meetings[kind.words],
        "without a link, off": without.without[kind.words],
        "without a link, on": having.without[kind.words],
        **{rung.value: having.rungs[kind.words, rung.value] for rung in Rung},
        "emails about it": having.mails[kind.words],
    }


def _week(simulation: Simulation, long: bool, seed: int, *, on: bool) -> Week:
    dice, week = random.Random(seed), Week()
    simulation.begin()
    simulation.set_last_resort(*Rung if on else ())
    callers = Callers(simulation)
    plans: list[tuple[datetime, int, str, Kind, timedelta]] = []
    beginning = simulation.clock.now()
    for number, kind in enumerate([kind for kind in KINDS for _ in range(12 if long else 1)]):
        lead = dice.choice(LEADS if long else LEADS[:2])
        start = beginning + lead + dice.random() * (7 * DAY if long else HOUR)
        plans.append((start - lead, number, f"acc{number}", kind, lead))
    for at, _, sub, kind, lead in sorted(plans, key=lambda plan: plan[:2]):
        simulation.work(max(timedelta(0), at - simulation.clock.now()))
        simulation.cronofy.join(sub, PROFILES.items())
        callers.connect(sub)
        callers.write_and_track(sub, "e", lead, kind.profile)
        kind.happens(callers, sub)
    simulation.work(DAY + HOUR)
    callers.invariants.check()
    kinds = {sub: kind.words for _, _, sub, kind, _ in plans}
    for sub, words in kinds.items():
        event = simulation.cronofy.event(sub, "e")
        assert event is not None
        week.meetings[words] += 1
        week.without[words] += join_url(event) is None
    for outcome in simulation.services.ledger.outcomes.newest():
        if outcome["type"] == "fallback":
            week.rungs[kinds[outcome["sub"]], outcome["detail"]["rung"]] += 1
            mail_id = outcome["detail"]["mail_id"]
            sent = [m for m in simulation.mail_server.taken if m["Message-ID"].startswith(f"<{mail_id}@")]
            week.mails[kinds[outcome["sub"]]] += len(sent)
    return week
