"""The status of a fleet as a table of 80 columns, whose longer lines a terminal wraps."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from config.terminal import Line, shown
from worker.diagnosis.cause_table import UNSEEN, label
from worker.diagnosis.model import Cause
from worker.status.snapshot import Status
from worker.status.trouble import failed_calls, troubles
from worker.wording import amount, spoken, utc

#: How many of the events that start next are shown.
SHOWN = 5


def status_lines(status: Status, starting: int = SHOWN, *, brief: bool = False) -> Iterator[Line]:
    """The whole table; whatever needs an operator is coloured.

    `starting` is how many of the events that start next it has; a brief one has no cause without an event.
    """
    yield _headline(status)
    yield from _attention(status)
    yield []
    for name, text, well in _rows(status):
        yield [(f"{name:<14}", "dim"), (text, "" if well else "yellow")]
    yield []
    yield [(f"{'cause':<20}{'pending':>11}", "dim")]
    for cause, count in status.by_cause.items():
        words = label(cause)
        if cause is Cause.GENERATING and status.unseen:
            words += f", {status.unseen:,} {UNSEEN}"
        if count or not brief:
            yield [(f"{cause:<20}{count:>11,}  {words}", "" if count else "dim")]
    yield from _next(status, starting)


def status_json(status: Status) -> dict[str, Any]:
    """The whole status for programs: the contract's fields (§6)."""
    return {**status.as_json, "attention": [each.as_json for each in troubles(status)]}


def _headline(status: Status) -> Line:
    oldest = status.oldest_pending_seconds
    age = "" if oldest is None else f", the oldest for {spoken(oldest)}"
    return [(amount(status.pending, "event") + " pending", "bold"), (age, "")]


def _attention(status: Status) -> Iterator[Line]:
    found = list(troubles(status))
    if found:
        yield []
        yield [("Needs attention", "bold")]
    for each in found:
        yield [("  ", ""), (shown(each.sentence), "yellow")]
        yield [("    ", ""), (each.command, "dim")]


def _rows(status: Status) -> Iterator[tuple[str, str, bool]]:
    """Name, text, and whether all is well."""
    yield "settled", f"{status.assigned:,} assigned, {status.closed:,} closed", True
    owing = f", {status.without_token:,} waiting for an access token" if status.without_token else ""
    yield "accounts", f"{status.due:,} due, {status.leased:,} being looked at{owing}", not owing
    yield "budget", *_budget(status)
    refused = f", {status.mail_refused:,} refused" if status.mail_refused else ""
    mail = f"{status.mail_queued:,} queued, {status.mail_sent:,} sent{refused}"
    yield "mail", mail, not status.refused_addresses
    unknown = None in status.queues.values()
    waiting = (
        f"{name.removeprefix('reconciler.')} {n:,}" for name, n in status.queues.items() if n is not None
    )
    yield "queues", "unknown: the broker is away" if unknown else ", ".join(waiting), not unknown
    yield (
        "workers",
        f"{status.workers:,}" if status.workers else "none seen in the last 30 s",
        status.workers > 0,
    )
    yield "last sweep", status.last_sweep, not status.sweep_is_late or status.no_writes is not None
    parked = f", {amount(status.parked, 'event')} parked" if status.parked else ""
    dropped = sum(status.letters_dropped.values())
    lost = f", {dropped:,} more dropped" if dropped else ""
    yield "dead letters", f"{status.dead_letters:,}{parked}{lost}", not (status.dead_letters or dropped)


def _budget(status: Status) -> tuple[str, bool]:
    budget = status.budget
    if budget.client_refused:
        return "no calls but one refresh a minute", False
    used = f"{budget.used_last_minute:,} of {budget.per_minute:,} calls in the last minute"
    if budget.paused_until is not None:
        return f"{used}; none for {spoken(budget.paused_until - status.at)}", False
    failed = failed_calls(status)
    return (f"{used}; {failed}", False) if failed else (used, True)


def _next(status: Status, most: int) -> Iterator[Line]:
    if status.soonest[:most]:
        yield []
        yield [("Next to start without a link", "bold")]
    for starting in status.soonest[:most]:
        cause = starting.cause.value if starting.cause else UNSEEN
        when = f"in {spoken(starting.start - status.at)}"
        yield [(f"  {when:<16}{utc(starting.start)}  {cause}", "")]
        # As arguments of `reconciler explain`.
        ids = shlex.join((starting.sub, starting.calendar_id, starting.event_id))
        yield [("    ", ""), (shown(ids), "dim")]
