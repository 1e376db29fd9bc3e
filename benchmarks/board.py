"""Board: how long each of its pages takes as the number of events grows.

`reconciler serve` and a real server, one browser that asks for one page after the other. All events wait for
a person and are in one incident; a tenth as many accounts have them, and one more account has 50,000 (in the
quick form 500), and as many that are settled. There are as many outcomes, dead letters and emails as the
ledger keeps.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import httpx
import msgpack
from rich.progress import track as progress

from benchmarks.ledger import PIPELINED, packed, run_many
from benchmarks.lists import PER_ACCOUNT, SPAN, fill_events, sub_of, waiting_event
from benchmarks.report import Report, Value
from benchmarks.stage import (
    cpu_seconds,
    environment,
    free_ports,
    process,
    redis_server,
    services,
    settings_for,
    until,
)
from worker.bootstrap import Services
from worker.ledger.dead_letters import MOST as MOST_LETTERS
from worker.ledger.directory import hash_with
from worker.ledger.ledger import Connecting, Credentials
from worker.ledger.lists import lists_of
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.packing import pack_event
from worker.ledger.records import TrackedEvent, to_ms
from worker.web.board.urls import account_url, event_url, incident_url, letter_url

SIZES = (10_000, 1_000_000)
QUICK_SIZES = (1_000, 2_000)
TOKEN = "a-token-of-the-board"
LARGE, EMAIL = "acc_large", "someone@example.org"


def run(quick: bool) -> Report:
    """Fill each size, and ask for every page of each."""
    sizes, times, large = (QUICK_SIZES, 3, 500) if quick else (SIZES, 40, 50_000)
    rows: list[dict[str, Value]] = []
    for events in sizes:
        with ExitStack() as stack:
            settings = settings_for(stack.enter_context(redis_server()), "http://127.0.0.1:9")
            opened = services(settings)
            stack.callback(opened.close)
            _fill(opened, events, large, MOST_LETTERS // (50 if quick else 1))
            http, pid = stack.enter_context(_served({**settings, "board_token": TOKEN}))
            for what, url in _pages(opened, events).items():
                measured = _measured(opened, http, pid, url, times)
                rows.append({"events": events, "page": what, **measured})
    return Report(
        name="board",
        title="Board: one page after the other",
        headings=("events", "page", "median ms", "p95 ms", "serve's CPU ms", "Redis's CPU ms", "KiB"),
        rows=rows,
        notes=(
            f"All events are in one incident. The large account has {large:,} more, which start last, and as "
            "many that are settled.",
        ),
        settings={"requests a page": times, "events an account": PER_ACCOUNT, "large account": large},
    )


def _pages(opened: Services, events: int) -> dict[str, str]:
    ledger, number = opened.ledger, events // PER_ACCOUNT // 2
    sub, event_id = sub_of(number), f"event-{number:09}-3"
    [incident] = ledger.incidents.open()
    [letter] = ledger.dead_letters.newest(1)
    return {
        "overview": "/",
        "events": "/events",
        "events, by cause": "/events?cause=profile_removed",
        "events, escalated, soon": "/events?told=escalated&before=P7D",
        "events of the large account": f"/events?account={LARGE}",
        "title in the large account": f"/events?account={LARGE}&title=nothing-like-it",
        "event": event_url(sub, f"cal_{number:012}", event_id),
        "event of the large account": event_url(LARGE, "cal_large", "large-7"),
        "event that is not tracked": event_url(LARGE, "cal_large", "larger-7"),
        "accounts": "/accounts",
        "accounts, oldest first": "/accounts?standing=pending",
        "accounts, another data centre": "/accounts?center=de",
        "account": account_url(sub),
        "large account": account_url(LARGE),
        "incidents": "/incidents",
        "incident": incident_url(incident.incident_id),
        "emails": "/mails",
        "emails that left": "/mails?state=gone&account=nobody",
        "outcomes": "/outcomes",
        "outcomes, of one account": f"/outcomes?account={sub}",
        "dead letters": "/dead-letters",
        "dead letters, of one account": "/dead-letters?account=nobody",
        "dead letter": letter_url(letter.letter_id),
        "workers": "/workers",
        "report": "/report",
        "search, event": f"/board/search?q={event_id}",
        "search, event of the large account": "/board/search?q=large-7",
        "search, calendar": f"/board/search?q=cal_{number:012}",
        "search, calendar of the large account": "/board/search?q=cal_large",
        "search, address": f"/board/search?q={EMAIL}",
        "search, nothing": "/board/search?q=nothing-like-it",
    }


def _measured(opened: Services, http: httpx.Client, pid: int, url: str, times: int) -> dict[str, Value]:
    # The first ones load scripts and templates.
    for _ in range(2):
        http.get(url)
    took: list[float] = []
    used, served = cpu_seconds(pid) or 0.0, _cpu_of_redis(opened)
    for _ in range(times):
        begun = time.perf_counter()
        answer = http.get(url)
        took.append(1000 * (time.perf_counter() - begun))
        if answer.status_code not in (200, 303, 404):
            raise SystemExit(f"{url} answered {answer.status_code}: the figures would be meaningless.")
    spent = 1000 * ((cpu_seconds(pid) or 0.0) - used) / times
    of_redis = 1000 * (_cpu_of_redis(opened) - served) / times
    p95 = sorted(took)[math.ceil(0.95 * times) - 1]
    kib = round(len(answer.content) / 1024)
    cpu: dict[str, Value] = {"serve's CPU ms": spent, "Redis's CPU ms": of_redis}
    return {"median ms": median(took), "p95 ms": p95, **cpu, "KiB": kib}


def _cpu_of_redis(opened: Services) -> float:
    """CPU seconds that the server's main thread used so far."""
    used = opened.ledger.redis.info("cpu")
    return float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])


@contextmanager
def _served(settings: Mapping[str, Any]) -> Iterator[tuple[httpx.Client, int]]:
    """A browser that is signed in, and the pid of `serve`."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "worker.cli", "serve", "--port", str(port)]
    browser = httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=60,
    )
    with process(command, environment(settings)) as served, browser as http:
        until(lambda: _answers(http), "serve", 60)
        yield http, served.pid


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").is_success
    except httpx.HTTPError:
        return False


def _fill(opened: Services, events: int, large: int, letters: int) -> None:
    ledger, start = opened.ledger, datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    ledger.redis.config_set("auto-aof-rewrite-percentage", 0)
    profile, keep = msgpack.packb({"email": EMAIL, "name": "Someone"}), opened.settings.outcomes_keep
    address = hash_with(ledger.directory.address_key.take(), EMAIL)
    accounts = events // PER_ACCOUNT
    for first in progress(range(0, accounts, PIPELINED), f"Connecting {accounts:,} accounts", transient=True):
        subs = [sub_of(n) for n in range(first, min(first + PIPELINED, accounts))]
        calls = [
            (sub, profile, "us", b"sealed", _outcome(sub), keep, b"", "", "", address if n == 0 else b"")
            for n, sub in enumerate(subs, first)
        ]
        run_many(ledger, "connect", calls)
    fill_events(opened, events, start, incident=True)
    ledger.connect(Connecting(LARGE, Credentials("token"), "us", None, None))
    made = [_event(n, start + 2 * SPAN) for n in range(large)]
    for first in progress(range(0, large, PIPELINED), "Filling the large account", transient=True):
        some = [(e.key.field, pack_event(e), lists_of(e)) for e in made[first : first + PIPELINED]]
        run_many(ledger, "track", [packed((LARGE, *each, "")) for each in some])
        settled: dict[Any, Any] = {field: value for field, value, _ in some}
        ledger.redis.hset(ledger.keys.settled(LARGE), mapping=settled)
    for n in progress(range(letters), "Keeping dead letters", transient=True):
        ledger.dead_letters.keep("conferencing.track", "event: is missing", (), {"sub": sub_of(n)})
    with ledger.redis.pipeline(transaction=False) as pipeline:
        for n in range(letters):
            mail: dict[Any, Any] = {"sub": sub_of(n), "kind": "relink", "attempts": 1}
            pipeline.hset(ledger.keys.mail(f"m{n}"), mapping={**mail, "parts": "x"})
            pipeline.zadd(ledger.keys.outbox, {f"m{n}": to_ms(start) + n})
            pipeline.xadd(ledger.keys.mails, {**mail, "id": f"g{n}", "how": "sent"})
        pipeline.execute()


def _outcome(sub: str) -> str:
    return Outcome(OutcomeType.ACCOUNT_CONNECTED, sub, datetime.now(UTC)).to_json()


def _event(n: int, start: datetime) -> TrackedEvent:
    return waiting_event("cal_large", f"large-{n}", start + timedelta(minutes=n), start)
