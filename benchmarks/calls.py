"""Calls: how many requests to Cronofy a look takes at accounts with 1, 10 and 100 pending events.

Ours is measured with the program in this process, over real HTTP and a real Redis; the sandbox counts every
request of the API, including token refreshes. For comparison, the naive worker's function is called once
per event of one account. Counts do not depend on the machine.

Settled: every event has its conference, so a look reads the pages and is done. Stuck: none has, so a look
also needs UserInfo to find the cause. Reading every page is unavoidable; beyond the pages and one UserInfo,
a look may make a tenth more calls.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass

from redis import Redis

from benchmarks import naive
from benchmarks.report import Report, Value
from benchmarks.stage import Filled, fill, redis_server, sandbox_process, services, settings_for
from sandbox.control.control import Control
from worker.bootstrap import Services
from worker.diagnosis.model import Cause
from worker.run.looks import look_at_ready

#: Seconds from track to the first look, and between looks: each account has one look here.
RECHECK = 2.0
#: How much faster than its settings the sandbox makes conferences.
SPEED = 1000
BOUND = "bound: 1.1 × (pages + 1)"


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of account."""

    events: int
    page_size: int
    stuck: bool

    @property
    def pages(self) -> int:
        """How many pages the account's events take."""
        return math.ceil(self.events / self.page_size)


CASES = tuple(
    Case(events, page_size, stuck)
    for stuck in (False, True)
    for events, page_size in ((1, 100), (10, 100), (100, 100), (100, 25))
)


def run(quick: bool) -> Report:
    """Count the calls in each case."""
    most = 100 if quick else 1000
    with redis_server() as redis_url, sandbox_process() as control, ExitStack() as stack:
        filled = []
        for case in CASES:
            # Conferences come at once, or not within the hour.
            control.set_settings(generation_seconds=3600.0 * SPEED if case.stuck else 0.0)
            ours = services(settings_for(redis_url, control.base_url, recheck_min=RECHECK))
            stack.callback(ours.close)
            filled.append((case, ours, fill(ours, control, most // case.events, case.events)))
        time.sleep(RECHECK)
        rows = [_row(ours, control, case, accounts) for case, ours, accounts in filled]
    return Report(
        name="calls",
        title="Calls to Cronofy for one look at an account",
        headings=(
            "events",
            "events an account",
            "pages",
            "accounts",
            "ours: calls a look",
            BOUND,
            "naive: calls a round",
        ),
        rows=rows,
        notes=("The naive worker's round is one task for each event of an account.",),
        settings={"events_of_each_row": most, "page_sizes": "100, 25"},
    )


def _row(ours: Services, control: Control, case: Case, accounts: list[Filled]) -> dict[str, Value]:
    control.set_settings(page_size=case.page_size)
    # As they are before a look settles them.
    pending = naive.pending(accounts[0], [s.event for s in ours.ledger.pending(accounts[0].sub)])
    return {
        "events": "stuck" if case.stuck else "settled",
        "events an account": case.events,
        "pages": case.pages,
        "accounts": len(accounts),
        "ours: calls a look": _calls_a_look(ours, control, case, accounts),
        BOUND: 1.1 * (case.pages + 1),
        "naive: calls a round": _calls_a_round(ours.ledger.redis, control, case, pending),
    }


def _calls_a_look(ours: Services, control: Control, case: Case, accounts: list[Filled]) -> float:
    before, looks = _calls(control), 0
    ours.ledger.promote(len(accounts))  # once: no account is due again during the run
    while done := look_at_ready(ours, len(accounts)).looked_at:
        looks += done
    calls = _calls(control) - before
    if looks != len(accounts):
        raise SystemExit(f"There were {looks} looks at {len(accounts)} accounts: they cannot be compared.")
    if case.stuck:
        left = [s.event.cause for account in accounts for s in ours.ledger.pending(account.sub)]
        found = left.count(Cause.GENERATING)
    else:
        found = ours.ledger.counters().get("outcome:assigned", 0)
    if found != case.events * len(accounts):
        raise SystemExit(f"Only {found} of {case.events * len(accounts)} events were found as they are.")
    return calls / looks


def _calls_a_round(redis: Redis, control: Control, case: Case, pending: list[naive.Pending]) -> int:
    before = _calls(control)
    found = [naive.look(redis, control.base_url, event) for event in pending]
    if found != [not case.stuck] * case.events:
        raise SystemExit("The naive worker did not find what was there.")
    return _calls(control) - before


def _calls(control: Control) -> int:
    return len(control.requests("/v1/")) + len(control.requests("/oauth/"))
