"""The status of a fleet as a table: 80 columns, and plain if not on a terminal."""

from __future__ import annotations

import select
import shlex
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from redis.exceptions import RedisError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from config.terminal import shown
from worker.diagnosis.cause_table import UNSEEN
from worker.diagnosis.model import Cause
from worker.ledger.connection import sentence
from worker.ledger.figures import Starting
from worker.status.snapshot import Status
from worker.status.trouble import failed_calls, troubles
from worker.wording import amount, spoken

#: How many of the events that start next are shown.
SHOWN = 5
#: How often a watched table is refreshed.
REFRESH_SECONDS = 2.0


def status_table(status: Status, sweep_every: timedelta) -> RenderableType:
    """The whole table; whatever needs an operator is coloured."""
    lines = [_headline(status), Text()]
    for name, text, well in _rows(status, sweep_every):
        lines.append(Text.assemble((f"{name:<14}", "dim"), (text, "" if well else "yellow")))
    lines.append(Text())
    lines.append(Text(f"{'cause':<20}{'pending':>11}", style="dim"))
    for cause, count in status.by_cause.items():
        unseen = f"  {status.unseen:,} {UNSEEN}" if cause is Cause.GENERATING and status.unseen else ""
        lines.append(Text(f"{cause:<20}{count:>11,}{unseen}", style="" if count else "dim"))
    lines.extend(_next(status))
    return Group(*lines)


def _headline(status: Status) -> Text:
    line = Text(amount(status.pending, "event") + " pending", style="bold")
    if status.oldest_pending_seconds is not None:
        line.append(f", the oldest for {spoken(status.oldest_pending_seconds)}", style="not bold")
    return line


def _rows(status: Status, sweep_every: timedelta) -> Iterator[tuple[str, str, bool]]:
    """Name, text, and whether all is well."""
    if status.no_writes is not None:
        yield "redis", f"takes no writes: {status.no_writes}", False
    if status.paused_since is not None:
        since = f"by an operator {spoken(status.at - status.paused_since)} ago; to end it: reconciler resume"
        yield "paused", since, False
    yield "settled", f"{status.assigned:,} assigned, {status.closed:,} closed", True
    owing = f", {status.without_token:,} waiting for an access token" if status.without_token else ""
    yield "accounts", f"{status.due:,} due, {status.leased:,} being looked at{owing}", not owing
    yield "budget", *_budget(status)
    for trouble in troubles(status):
        yield (
            trouble.name,
            f"{trouble.sentence}. {trouble.fix[:1].upper()}{trouble.fix[1:].rstrip('.')}.",
            False,
        )
    refused = f", {status.mail_refused:,} refused" if status.mail_refused else ""
    mail = f"{status.mail_queued:,} queued, {status.mail_sent:,} sent{refused}"
    yield "mail", mail, not status.refused_addresses
    for refusal in status.refusals[:SHOWN]:
        whose = refusal.sub or "escalations"
        yield "", shown(f"{refusal.address} of {whose} was refused: {refusal.reason}"), False
    if status.outcomes_owed or status.outcomes_given_up:
        given_up = f", {status.outcomes_given_up:,} given up" if status.outcomes_given_up else ""
        yield "outcome URL", f"{status.outcomes_owed:,} owed{given_up}: see reconciler outcomes", False
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
    yield "last sweep", *_sweep(status, sweep_every)
    parked = f", {amount(status.parked, 'event')} parked" if status.parked else ""
    dropped = sum(status.letters_dropped.values())
    lost = f", {dropped:,} more dropped" if dropped else ""
    yield "dead letters", f"{status.dead_letters:,}{parked}{lost}", not (status.dead_letters or dropped)


def _budget(status: Status) -> tuple[str, bool]:
    budget = status.budget
    if budget.client_refused:
        return "Cronofy refuses our client: see reconciler doctor", False
    used = f"{budget.used_last_minute:,} of {budget.per_minute:,} calls in the last minute"
    if budget.paused_until is not None:
        return f"{used}; Cronofy asked for a pause of {spoken(budget.paused_until - status.at)}", False
    failed = failed_calls(status)
    return (f"{used}; {failed}", False) if failed else (used, True)


def _sweep(status: Status, sweep_every: timedelta) -> tuple[str, bool]:
    late = status.sweep_is_late(sweep_every) and status.no_writes is None
    return status.last_sweep + (": is beat running?" if late else ""), not late


def _next(status: Status) -> Iterator[Text]:
    if not status.soonest:
        return
    yield Text("\nNext to start without a link", style="bold")
    for starting in status.soonest[:SHOWN]:
        cause = starting.cause.value if starting.cause else UNSEEN
        when = f"in {spoken(starting.start - status.at)}"
        yield Text(f"  {when:<16}{starting.start:%Y-%m-%d %H:%M} UTC  {cause}")
        yield Text(f"    {_ids(starting)}", style="dim", overflow="fold")


def _ids(starting: Starting) -> str:
    """The ids as arguments of `reconciler explain`."""
    return shown(shlex.join((starting.sub, starting.calendar_id, starting.event_id)))


def watch(read: Callable[[], Status], sweep_every: timedelta, console: Console) -> None:
    """Refresh the table every two seconds until q or Ctrl-C; it shows and waits out an outage of Redis."""
    table: RenderableType = ""
    with (
        suppress(KeyboardInterrupt),
        _keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            try:
                table = status_table(read(), sweep_every)
                live.update(Group(table, Text("\nq to quit", style="dim")), refresh=True)
            except RedisError as error:
                why = sentence(error) or f"Redis is unavailable ({type(error).__name__})"
                away = Text(f"{why.rstrip('.')}; retrying.", style="red")
                live.update(Group(away, Text(), table), refresh=True)
            if pressed(REFRESH_SECONDS) in ("q", "Q"):
                break
    console.print(table)


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits N seconds for a key and returns it; without a terminal it only waits."""
    if not sys.stdin.isatty():
        yield lambda seconds: time.sleep(seconds) or ""  # type: ignore[func-returns-value]
        return

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
