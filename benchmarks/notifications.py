"""Notifications: the time from a push notification to its `assigned` outcome, idle and under load.

A caller sends signed notifications to `conferencing.receive_notification`, each about another account whose
event got its conference a moment before, one every `every` seconds regardless of answers. The time runs from
just before the message is sent until a consumer blocking on the outcome stream holds the `assigned` outcome:
two messages through Celery, two claims and commits in Redis, one call to the sandbox. Worker and beat are
real processes; the sandbox enforces its limits.

The first row has nothing else to do. In the second, other accounts are due, and more of them than the limits
admit before the measurement ends: the sweep first calls as fast as the limit per second allows, and then
waits, with its part of the minute used up. Notifications have to get through in both phases. They stay well
below a fifth of the allowed calls, and a few uncounted ones come before the sweep: each process of the worker
connects at its first task, and the budget has then already seen urgent work.

Celery's way through Redis bounds the figure and, on few cores, the processes that share them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import Celery
from rich.progress import Progress

from benchmarks.fleet import PER_MINUTE, PER_SECOND, SHARE, beat, outcomes, percentile, worker
from benchmarks.report import Report, Value
from benchmarks.stage import (
    CLIENT_SECRET,
    Filled,
    fill,
    redis_server,
    sandbox_process,
    services,
    settings_for,
)
from sandbox.control.control import Control
from worker.cronofy.signature import signature_of

#: Sent before the measurement, so that every process has handled one.
WARM_UP = 8


@dataclass(frozen=True, slots=True)
class Load:
    """The number and pace of notifications, and the competing load."""

    due: int
    notifications: int
    every_seconds: float
    #: Multiplies Cronofy's limits, so that the due accounts outlast the measurement.
    factor: float

    @property
    def limits(self) -> dict[str, int]:
        """The sandbox's limits."""
        return {
            "per_second": int(PER_SECOND * self.factor),
            "per_minute": int(PER_MINUTE * self.factor),
        }


FULL = Load(due=1_000, notifications=150, every_seconds=0.6, factor=1.5)
QUICK = Load(due=200, notifications=10, every_seconds=0.3, factor=1.0)


def run(quick: bool) -> Report:
    """Measure with and without other due accounts."""
    load = QUICK if quick else FULL
    with sandbox_process() as control:
        rows = [_measure(control, load, due) for due in (0, load.due)]
    allowed = int(load.limits["per_minute"] * SHARE)
    return Report(
        name="notifications",
        title="From a push notification to the outcome `assigned`",
        headings=(
            "accounts due",
            "notifications",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "looks done meanwhile",
        ),
        rows=rows,
        notes=(
            f"One notification every {load.every_seconds * 1000:.0f} ms, each about another account. "
            f"{allowed:,} calls a minute are allowed, for notifications and all else.",
        ),
        settings={
            "notifications": load.notifications,
            "every_seconds": load.every_seconds,
            "factor": load.factor,
            "share": SHARE,
            "warm_up": WARM_UP,
            **load.limits,
        },
    )


def _measure(control: Control, load: Load, due: int) -> dict[str, Value]:
    control.reset()
    with redis_server() as redis_url:
        limits = {f"api_{name}": limit for name, limit in load.limits.items()}
        settings = settings_for(redis_url, control.base_url, api_share=SHARE, **limits)
        settings["recheck_min"] = 30
        # Start later than all others, and so come last in order of start; their own first look is an
        # hour away, so that only the notification can trigger it.
        told = _filled(settings, control, load.notifications + WARM_UP, recheck_min=3600)
        others = {a.sub for a in _filled(settings, control, due, recheck_min=0.001)}
        control.set_settings(**load.limits)
        with outcomes(redis_url, settings["key_prefix"]) as arrivals, worker(settings, redis_url) as caller:
            _notify(control, caller, told[:WARM_UP], 0)
            arrivals.wait_for({account.sub for account in told[:WARM_UP]})
            with beat(settings):
                if others:
                    arrivals.wait_for(others, first=True)
                sent = _notify(control, caller, told[WARM_UP:], load.every_seconds)
                arrivals.wait_for(sent)
        took = [(arrivals.at[sub] - at) * 1000 for sub, at in sent.items()]
        begun, ended = min(sent.values()), max(arrivals.at[sub] for sub in sent)
        looks = sum(begun <= arrivals.at.get(sub, 0) <= ended for sub in others)
        # At the last send, not its answer: a delayed answer is a result, not a failure of the run.
        last = max(sent.values())
        if others and all(arrivals.at.get(sub, math.inf) <= last for sub in others):
            raise SystemExit("The other accounts were done before the last notification was sent.")
        return {
            "accounts due": due,
            "notifications": len(took),
            "p50 ms": percentile(took, 50),
            "p90 ms": percentile(took, 90),
            "p99 ms": percentile(took, 99),
            "max ms": max(took),
            "looks done meanwhile": looks,
            "over 1 s": sum(ms > 1000 for ms in took),
            "seconds": ended - begun,
        }


def _filled(settings: dict[str, Any], control: Control, accounts: int, *, recheck_min: float) -> list[Filled]:
    """Accounts with one event; those to be notified are stuck, and start later than the others."""
    told = recheck_min > 1
    with_recheck = services({**settings, "recheck_min": recheck_min})
    try:
        return fill(with_recheck, control, accounts, 1, first=timedelta(days=1 + told), stuck=told)
    finally:
        with_recheck.close()


def _notify(
    control: Control, caller: Celery, accounts: Sequence[Filled], every_seconds: float
) -> dict[str, float]:
    """Let each account's conference be made and notify it; returns when each was sent."""
    sent: dict[str, float] = {}
    begun = time.monotonic()
    with Progress(transient=True) as bar:
        for n, account in enumerate(bar.track(accounts, description="Notifying")):
            event_id = account.event_ids[0]
            control.set_stuck(account.calendar_id, event_id, False)
            while "join_url" not in control.event(account.calendar_id, event_id)["conferencing"]:
                # Cronofy notifies once it is there, not before.
                time.sleep(0.005)
            time.sleep(max(0.0, begun + n * every_seconds - time.monotonic()))
            event = {"event_id": event_id, "calendar_id": account.calendar_id}
            notification = {"type": "event_subscription", "interactions": [{"type": "conferencing_assigned"}]}
            body = json.dumps({"notification": notification, "event": event})
            sent[account.sub] = time.monotonic()
            caller.send_task(
                "conferencing.receive_notification",
                kwargs={"body": body, "signature": signature_of(body.encode(), CLIENT_SECRET)},
                ignore_result=True,
            )
    return sent
