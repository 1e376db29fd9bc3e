"""Lists: what a page of events costs as their number grows, by `reconciler list`'s conditions.

A real server, one client. Every event waits for a person, so every event is in the lists that are read: of
its cause, of its service and of those that are escalated. Each page has fifty events. Figures are medians;
each ratio compares with the smallest ledger.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from rich.progress import track as progress

from benchmarks.ledger import PIPELINED, packed, run_many
from benchmarks.report import Report, Value
from benchmarks.stage import redis_server, services, settings_for, tracked_event
from worker.bootstrap import Services
from worker.diagnosis.model import Cause, Certainty, Diagnosis, Remedy, State
from worker.ledger.lists import Wanted, lists_of
from worker.ledger.packing import pack_event
from worker.ledger.records import TrackedEvent

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 10_000)
PER_ACCOUNT = 10
PAGE = 50
SPAN = timedelta(days=30)
CAUSE = Cause.PROFILE_REMOVED


def run(quick: bool) -> Report:
    """Fill each size, and read the same pages of each."""
    sizes, pages = (QUICK_SIZES, 5) if quick else (SIZES, 30)
    rows: list[dict[str, Value]] = []
    with ExitStack() as stack:
        for events in sizes:
            opened = services(settings_for(stack.enter_context(redis_server()), "http://127.0.0.1:9"))
            stack.callback(opened.close)
            start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
            fill_events(opened, events, start)
            for what, wanted in _conditions(events, start).items():
                first, later = _times(opened, wanted, pages)
                row: dict[str, Value] = {"events": events, "wanted": what, "first page ms": first}
                smallest = next((r for r in rows if r["wanted"] == what), None)
                rows.append(row | {"a later page ms": later, "ratio": _ratio(row, smallest)})
    return Report(
        name="lists",
        title=f"Lists: a page of {PAGE} events",
        headings=("events", "wanted", "first page ms", "ratio", "a later page ms"),
        rows=rows,
        notes=("Every event is in the lists of its cause, of its service and of what is escalated.",),
        settings={"page": PAGE, "pages": pages, "events an account": PER_ACCOUNT},
    )


def _conditions(events: int, start: datetime) -> dict[str, Wanted]:
    return {
        "--cause": Wanted(cause=CAUSE),
        "--escalated": Wanted(escalated=True),
        "--provider, --cause": Wanted(provider="zoom", cause=CAUSE),
        "--starts-before": Wanted(cause=CAUSE, starts_before=start + SPAN / 2),
        "--account": Wanted(account=sub_of(events // PER_ACCOUNT // 2)),
    }


def _times(opened: Services, wanted: Wanted, pages: int) -> tuple[float, float | None]:
    """Milliseconds for the first page, and for one of those that follow it; None if there is one page."""
    first: list[float] = []
    later: list[float] = []
    for _ in range(pages):
        after: str | None = None
        for _ in range(5):
            begun = time.perf_counter()
            page = opened.ledger.lists.page(wanted, PAGE, after)
            (later if after else first).append(1000 * (time.perf_counter() - begun))
            if not page.events:
                raise SystemExit("A page was empty: the figures would be meaningless.")
            after = page.after
            if after is None:
                break
    return median(first), median(later) if later else None


def _ratio(row: dict[str, Value], smallest: dict[str, Value] | None) -> float | None:
    return float(row["first page ms"] or 0) / float(smallest["first page ms"] or 1) if smallest else None


def fill_events(opened: Services, events: int, start: datetime, *, incident: bool = False) -> None:
    """Track this many events that all wait for a person, perhaps in one incident."""
    ledger, accounts = opened.ledger, events // PER_ACCOUNT
    chunks = range(0, accounts, PIPELINED)
    for first in progress(chunks, f"Filling {events:,} events", transient=True):
        many = range(first, min(first + PIPELINED, accounts))
        # An account's at once, which is faster.
        run_many(ledger, "track", [packed(*_events(n, accounts, start, incident)) for n in many])
    if ledger.lists.size("escalated") != events:
        raise SystemExit("Not all events are in the list: the figures would be meaningless.")


def sub_of(n: int) -> str:
    """The id of an account."""
    return f"acc_{n:09}"


def waiting_event(calendar_id: str, event_id: str, starts: datetime, tracked: datetime) -> TrackedEvent:
    """An event whose profile was removed, of which a person was told."""
    diagnosis = Diagnosis(
        State.PENDING, CAUSE, Certainty.CERTAIN, ("Removed.",), Remedy.ESCALATE, {"profile_id": "pro"}
    )
    event = tracked_event(calendar_id, event_id, starts, tracked)
    return replace(event, last=diagnosis.as_json, notified=(f"{CAUSE.value}:pro",))


def _events(n: int, accounts: int, start: datetime, incident: bool) -> Iterator[tuple[Any, ...]]:
    """What the script `track` takes for each event of an account, spread over `SPAN`."""
    for e in range(PER_ACCOUNT):
        starts = start + SPAN * ((n * PER_ACCOUNT + e) / (accounts * PER_ACCOUNT))
        event = waiting_event(f"cal_{n:012}", f"event-{n:09}-{e}", starts, start)
        lists = [name for name in lists_of(event) if incident or not name.startswith("group:")]
        yield sub_of(n), event.key.field, pack_event(event), lists, ""
