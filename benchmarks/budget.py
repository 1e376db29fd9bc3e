"""Budget: how much of Cronofy's rate limit the fleet uses while there is work, and whether it exceeds it.

Accounts with one event each are due, their conferences exist, and their starts are spread over two days in
random order: so a look costs one call, and only the limit decides when it is made. The sandbox enforces the
limits; worker and beat are real processes with the sweep's default interval. All figures except the answer
times come from the sandbox's own log of what arrived.

Both limits, and with them our share, are multiplied by four: as in reality, the minute allows ten seconds at
the second's rate, and 2,000 calls exceed the 1,600 that a minute then allows, so that the run crosses the end
of a minute.

- *most in 1 s, in 60 s*: the highest cost in any sliding window; our share is noted below.
- *used %*: calls in a sliding minute as a percentage of those allowed, averaged over all whole minutes in
  which an account was still waiting. The naive figure, calls by duration and rate, is next to it in the JSON:
  a run that ends soon after a new minute began used two minutes' calls in little more than one.
- *rank correlation* (Spearman): between the start of each account's event and its first read.

The second row adds urgent questions about other accounts, one every half second: a question answered by
Cronofy gets `assigned`; one refused for lack of budget is answered from the ledger.

The limiter alone bounds the figures, as long as the sandbox and the machine serve far more than the allowed
rate: what the sandbox serves without limits is measured at the end and stands below the table.
"""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import httpx
from celery import Celery

from benchmarks.fleet import (
    PER_MINUTE,
    PER_SECOND,
    SHARE,
    beat,
    outcomes,
    percentile,
    worker,
)
from benchmarks.report import Report, Value
from benchmarks.stage import (
    Filled,
    fill,
    redis_server,
    sandbox_process,
    services,
    settings_for,
)
from sandbox.control.control import Control
from worker.bootstrap import THREADS

ACCOUNTS, QUICK_ACCOUNTS = 2_000, 150
FACTOR = 2
LIMITS = {"per_second": PER_SECOND * FACTOR, "per_minute": PER_MINUTE * FACTOR}
ALLOWED_SECOND, ALLOWED_MINUTE = (int(limit * SHARE) for limit in LIMITS.values())
SEED = 20_260
SPREAD = timedelta(hours=48)
#: Seconds between two urgent questions, and how many are prepared: more than the sweep lasts.
ASK_EVERY, QUESTIONS, QUICK_QUESTIONS = 0.5, 500, 40


@dataclass(frozen=True, slots=True)
class Answered:
    """One urgent question: how long after its turn the answer came, and whether it was freshly read."""

    ms: float
    read: bool


def run(quick: bool) -> Report:
    """Measure the sweep alone, and with urgent questions."""
    accounts = QUICK_ACCOUNTS if quick else ACCOUNTS
    with sandbox_process() as control:
        rows = [
            _measure(control, accounts, questions)
            for questions in (0, QUICK_QUESTIONS if quick else QUESTIONS)
        ]
        pace = _pace(control)
    return Report(
        name="budget",
        title=f"The budget: {accounts:,} due accounts at {FACTOR} times Cronofy's limits, share {SHARE}",
        headings=(
            "load",
            "calls",
            "429s",
            "most in 1 s",
            "most in 60 s",
            "used %",
            "rank correlation",
            "seconds",
            "urgent, answered live",
            "p50 ms",
            "p99 ms",
        ),
        rows=rows,
        notes=(
            f"Allowed: {ALLOWED_SECOND} calls in any second, {ALLOWED_MINUTE:,} in any minute.",
            "Used: of those in a sliding minute, while accounts waited; empty where that was shorter.",
            "p50 and p99: of the urgent questions answered live; the others were answered from the ledger.",
            f"The sandbox alone serves at least {pace:,.0f} reads a second.",
        ),
        settings={
            "accounts": accounts,
            "factor": FACTOR,
            "share": SHARE,
            "seed": SEED,
            "ask_every_seconds": ASK_EVERY,
            "sandbox_reads_per_second": pace,
            **LIMITS,
        },
    )


def _measure(control: Control, accounts: int, questions: int) -> dict[str, Value]:
    control.reset()
    with redis_server() as redis_url, ExitStack() as stack:
        limits = {f"api_{name}": limit for name, limit in LIMITS.items()}
        settings = settings_for(redis_url, control.base_url, api_share=SHARE, **limits)
        settings["recheck_min"] = 30
        starts = _filled_due({**settings, "recheck_min": 0.001}, control, accounts)
        # Accounts for the questions are not due for long.
        asked_of = _filled({**settings, "recheck_min": 3600}, control, questions)
        control.set_settings(**LIMITS)
        arrivals = stack.enter_context(outcomes(redis_url, settings["key_prefix"]))
        # Beat first: it waits one interval before its first tick, and the worker takes as long to start.
        stack.enter_context(beat(settings))
        caller = stack.enter_context(worker(settings, redis_url))
        with ThreadPoolExecutor(1) as pool:
            done = Event()
            asking = pool.submit(_ask, caller, asked_of, done)
            try:
                arrivals.wait_for(starts)
            finally:
                done.set()
            answers = asking.result()
        return _figures(control, starts, answers) | {"load": "with questions" if questions else "sweep alone"}


def _filled_due(settings: dict[str, Any], control: Control, accounts: int) -> dict[str, datetime]:
    """Due accounts, each with its start, in an order unrelated to when they were created."""
    first = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    starts = [first + SPREAD * n / accounts for n in range(accounts)]
    random.Random(SEED).shuffle(starts)  # noqa: S311 - no secret
    return {
        account.sub: start
        for account, start in zip(_filled(settings, control, accounts, starts), starts, strict=True)
    }


def _filled(
    settings: dict[str, Any], control: Control, accounts: int, starts: Sequence[datetime] = ()
) -> list[Filled]:
    program = services(settings)
    try:
        return fill(program, control, accounts, 1, starts=starts)
    finally:
        program.close()


def _ask(caller: Celery, accounts: Sequence[Filled], done: Event) -> list[Answered]:
    """Ask about one account after another, each in its turn, until the sweep is done."""
    answers: list[Answered] = []
    begun = time.monotonic()
    for n, account in enumerate(accounts):
        # From its turn, not from when it was sent: a late answer also delays the next question.
        turn = begun + n * ASK_EVERY
        if done.wait(max(0.0, turn - time.monotonic())):
            return answers
        event = {
            "sub": account.sub,
            "calendar_id": account.calendar_id,
            "event_id": account.event_ids[0],
        }
        answer = caller.send_task("conferencing.reconcile_event", kwargs=event).get(timeout=60)
        answers.append(Answered((time.monotonic() - turn) * 1000, answer["state"] == "assigned"))
    if accounts and not done.is_set():
        raise SystemExit("There were too few questions for all of the time that the sweep took.")
    return answers


def _figures(
    control: Control, starts: Mapping[str, datetime], answers: Sequence[Answered]
) -> dict[str, Value]:
    requests = control.requests()
    first_read: dict[str, float] = {}
    for request in requests:
        if request["sub"] in starts and request["status"] == 200:
            first_read.setdefault(request["sub"], request["monotonic"])
    if len(first_read) < len(starts):
        raise SystemExit(f"Only {len(first_read)} of {len(starts)} accounts were read.")
    # Refused requests used nothing.
    calls = [r["monotonic"] for r in requests if r["status"] != 429 for _ in range(r["cost"])]
    last = max(first_read.values())
    took = last - calls[0]
    used = _used(calls, last)
    highest = control.rates()
    latencies = [answer.ms for answer in answers if answer.read]
    return {
        "calls": len(calls),
        "429s": sum(request["status"] == 429 for request in requests),
        "most in 1 s": highest["max_per_second"],
        "most in 60 s": highest["max_per_minute"],
        "used %": sum(used) / len(used) if used else None,
        "used % at least": min(used, default=None),
        "used % naively": 100 * bisect_left(calls, last) / (took / 60 * ALLOWED_MINUTE),
        "rank correlation": round(rank_correlation([(starts[sub], at) for sub, at in first_read.items()]), 4),
        "seconds": took,
        "urgent, answered live": f"{sum(a.read for a in answers)} of {len(answers)}" if answers else None,
        "p50 ms": percentile(latencies, 50) if len(latencies) > 1 else None,
        "p99 ms": percentile(latencies, 99) if len(latencies) > 1 else None,
    }


def _used(calls: Sequence[float], last: float) -> list[float]:
    """For each sliding minute up to `last`, the percentage of its limit that was used."""
    step, minutes = 0.1, []
    begin = calls[0]
    while begin + 60 <= last:
        called = bisect_left(calls, begin + 60) - bisect_left(calls, begin)
        minutes.append(100 * called / ALLOWED_MINUTE)
        begin += step
    return minutes


def rank_correlation(pairs: Sequence[tuple[Any, Any]]) -> float:
    """Spearman's coefficient of pairs without ties: 1 if both sides have the same order."""
    by_first = sorted(range(len(pairs)), key=lambda n: pairs[n][0])
    by_second = sorted(range(len(pairs)), key=lambda n: pairs[n][1])
    rank = {n: place for place, n in enumerate(by_second)}
    squares = sum((place - rank[n]) ** 2 for place, n in enumerate(by_first))
    return 1 - 6 * squares / (len(pairs) * (len(pairs) ** 2 - 1))


def _pace(control: Control) -> float:
    """Reads per second that the sandbox serves to threads doing nothing else."""
    control.reset()
    made = [control.create_account() for _ in range(10)]
    tokens = [account["access_token"] for account in made] * 100
    with httpx.Client(base_url=control.base_url) as client, ThreadPoolExecutor(THREADS) as pool:

        def read(token: str) -> None:
            headers = {"Authorization": f"Bearer {token}"}
            client.get("/v1/events", params={"tzid": "Etc/UTC"}, headers=headers).raise_for_status()

        begun = time.monotonic()
        list(pool.map(read, tokens))
        return len(tokens) / (time.monotonic() - begun)
