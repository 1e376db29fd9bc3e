"""How many signed notifications a second `reconciler serve` accepts, and whether it keeps each of them.

A real `serve`, a real worker and a real Redis, on loopback. The load is open: notifications are sent on
schedule whether or not earlier ones were answered, each timed from when it was due, so that a server that
falls behind shows it. None of the events is tracked: a look after a notification is another benchmark.
At the end the number of 2xx answers is compared with what the ledger counted as accepted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from redis import Redis

from benchmarks.fleet import percentile, worker
from benchmarks.report import Report, Value
from benchmarks.stage import (
    CLIENT_SECRET,
    environment,
    free_ports,
    process,
    redis_server,
    sandbox_process,
    settings_for,
    until,
)
from worker.cronofy.signature import signature_of

#: The sender's keep-alive connections. Cronofy's number is not known.
CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Load:
    """How many per second, and for how long."""

    per_second: int
    seconds: int


FULL = (Load(100, 10), Load(300, 10))
QUICK = (Load(50, 2),)


@dataclass(frozen=True, slots=True)
class Answered:
    """One notification: its status (0 for no answer), and how long after it was due the answer came."""

    status: int
    ms: float


def run(quick: bool) -> Report:
    """Measure each load."""
    with sandbox_process() as control, redis_server() as redis_url:
        rows = [_measure(redis_url, control.base_url, load) for load in (QUICK if quick else FULL)]
    return Report(
        name="webhooks",
        title="Signed notifications to `reconciler serve`",
        headings=(
            "a second",
            "sent",
            "2xx",
            "in the ledger",
            "p50 ms",
            "p99 ms",
            "max ms",
            "drained after s",
        ),
        rows=rows,
        notes=(
            "Times are from when a notification was due to be sent to the end of its answer.",
            "Drained: how long after the last answer the ledger had counted all of them.",
        ),
        settings={"connections": CONNECTIONS},
    )


def _measure(redis_url: str, api_url: str, load: Load) -> dict[str, Value]:
    with served(redis_url, settings_for(redis_url, api_url)) as (url, kept):
        answers = asyncio.run(_send(f"{url}/webhooks/cronofy", load))
        ended = time.monotonic()
        row = figures(answers, kept)
        drained = time.monotonic() - ended
    return {"a second": load.per_second, **row, "drained after s": drained}


@contextmanager
def served(redis_url: str, settings: dict[str, Any]) -> Iterator[tuple[str, Callable[[], int]]]:
    """`serve` and a worker; yields its URL, and a count of the notifications that the ledger has accepted."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "worker.cli", "serve", "--port", str(port)]
    with (
        Redis.from_url(redis_url) as redis,
        worker(settings, redis_url),
        process(command, environment(settings)),
    ):
        until(lambda: _is_ready(url), "serve", 30)
        yield url, lambda: _count(redis, f"{settings['key_prefix']}:counters")


def figures(answers: Sequence[Answered], kept: Callable[[], int]) -> dict[str, Value]:
    """What came of the notifications, once the ledger has all that were accepted."""
    taken = sum(200 <= answer.status < 300 for answer in answers)
    until(lambda: kept() >= taken, "the ledger to have them all", 120)
    times = [answer.ms for answer in answers]
    return {
        "sent": len(answers),
        "2xx": taken,
        "in the ledger": kept(),
        "p50 ms": percentile(times, 50),
        "p99 ms": percentile(times, 99),
        "max ms": max(times),
        "statuses": json.dumps(Counter(answer.status for answer in answers)),
    }


def _is_ready(url: str) -> bool:
    """Whether what is served there reaches ledger and broker."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _count(redis: Redis, key: str) -> int:
    """How many notifications the ledger has counted as accepted; `key` is that of its counters."""
    found: Any = redis.hget(key, "notifications:taken")
    return int(found or 0)


async def _send(url: str, load: Load) -> Sequence[Answered]:
    """Send on schedule, over a few persistent connections, as a real sender would."""
    bodies = [signed(n) for n in range(load.per_second * load.seconds)]
    due: asyncio.Queue[tuple[float, bytes, str]] = asyncio.Queue()
    answers: list[Answered] = []

    async def work() -> None:
        reader, writer = await connect(url)
        while True:
            at, body, signature = await due.get()
            if at < 0:
                writer.close()
                return
            writer.write(request(url, body, signature))
            answered = await status(reader)
            answers.append(Answered(answered, (time.monotonic() - at) * 1000))

    begun = time.monotonic() + 0.5
    workers = [asyncio.create_task(work()) for _ in range(CONNECTIONS)]
    for n, (body, signature) in enumerate(bodies):
        at = begun + n / load.per_second
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        due.put_nowait((at, body, signature))
    for _ in workers:
        due.put_nowait((-1.0, b"", ""))
    await asyncio.gather(*workers)
    return answers


def signed(n: int) -> tuple[bytes, str]:
    """The body of a notification of this number, and its signature."""
    event = {"event_id": f"event-{n}", "calendar_id": "cal_none", "summary": "Interview with the candidate"}
    notification = {"type": "event_subscription", "interactions": [{"type": "conferencing_assigned"}]}
    body = json.dumps({"notification": notification, "event": event}).encode()
    return body, signature_of(body, CLIENT_SECRET)


# A pure-Python HTTP client would use more CPU than what is measured.


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A new connection."""
    address = httpx.URL(url)
    return await asyncio.open_connection(address.host, address.port)


def request(url: str, body: bytes, signature: str) -> bytes:
    """The bytes of a request that brings it."""
    address = httpx.URL(url)
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        f"Cronofy-HMAC-SHA256: {signature}\r\n\r\n"
    )
    return head.encode() + body


async def status(reader: asyncio.StreamReader) -> int:
    """The status of an answer, all of which is read."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lengths = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length:")]
    if lengths:
        await reader.readexactly(int(lengths[0]))
    return int(head.split(" ", 2)[1])
