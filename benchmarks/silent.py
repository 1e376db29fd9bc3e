"""Whether `reconciler serve` keeps every notification beside connections that ask for nothing.

A real `serve`, a real worker and a real Redis, on loopback. Another process opens connections on which it
sends nothing, and others on which it stops in the middle of a request's head or body; whoever is sent away
comes back a second later. Beside them signed notifications come in on schedule, each on a new connection, the
harder case, and `/healthz` is asked ten times a second. Times are from when a notification was due.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.report import Report, Value
from benchmarks.stage import (
    process,
    redis_server,
    sandbox_process,
    settings_for,
)
from benchmarks.webhooks import Answered, connect, figures, request, served, signed, status

PER_SECOND = 50
HEALTH_EVERY = 0.1
#: What a probe of a supervisor waits for at least.
HEALTH_SECONDS = 1.0
#: On average; each time another one, or all would come at once.
BACK_AFTER = 1.0
#: Longer than Cronofy waits.
ANSWER_SECONDS = 10.0
HALF_HEAD = b"POST /webhooks/cronofy HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n"
HALF_BODY = HALF_HEAD + b"\r\n" + b"x" * 500


@dataclass(frozen=True, slots=True)
class Beside:
    """How many connections there are beside, and for how long."""

    silent: int
    half_sent: int
    seconds: int


FULL = (Beside(0, 0, 60), Beside(1000, 1000, 60))
QUICK = (Beside(300, 300, 3),)


def run(quick: bool) -> Report:
    """Measure each."""
    with sandbox_process() as control, redis_server() as redis_url:
        rows = [_measure(redis_url, control.base_url, beside) for beside in (QUICK if quick else FULL)]
    return Report(
        name="silent",
        title="Signed notifications beside connections that ask for nothing",
        headings=(
            *(
                "silent",
                "half-sent",
                "a second",
                "sent",
                "2xx",
                "in the ledger",
                "p50 ms",
                "p99 ms",
                "max ms",
            ),
            *("health asked", "healthy"),
        ),
        rows=rows,
        notes=(
            "Half-sent: half of a request's head, or its head and half of its body.",
            "Healthy: how often `/healthz` answered 200 within a second.",
        ),
        settings={"back after s": BACK_AFTER},
    )


def _measure(redis_url: str, api_url: str, beside: Beside) -> dict[str, Value]:
    settings = settings_for(redis_url, api_url, board_token="a-token-of-the-board")
    with served(redis_url, settings) as (url, kept):
        with _others(url, beside):
            answers, health = asyncio.run(_send(url, beside.seconds))
        row = figures(answers, kept)
    return {
        "silent": beside.silent,
        "half-sent": beside.half_sent,
        "a second": PER_SECOND,
        **row,
        "health asked": len(health),
        "healthy": sum(health),
    }


@contextmanager
def _others(url: str, beside: Beside) -> Iterator[None]:
    """The other process, once it has opened all of its connections."""
    if not beside.silent + beside.half_sent:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.silent", url, str(beside.silent), str(beside.half_sent)]
    with process(command, {}):
        # All of them have come at least once by then.
        time.sleep(2)
        yield


async def _send(url: str, seconds: int) -> tuple[list[Answered], list[bool]]:
    """Send on schedule, and ask for health; returns the answers to both."""
    begun = time.monotonic() + 0.5

    async def notify(n: int) -> Answered:
        at = begun + n / PER_SECOND
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        body, signature = signed(n)
        answered = await _ask(url, request(f"{url}/webhooks/cronofy", body, signature), ANSWER_SECONDS)
        return Answered(answered, (time.monotonic() - at) * 1000)

    async def health(n: int) -> bool:
        await asyncio.sleep(max(0.0, begun + n * HEALTH_EVERY - time.monotonic()))
        return await _ask(url, b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n", HEALTH_SECONDS) == 200

    notified = asyncio.gather(*(notify(n) for n in range(seconds * PER_SECOND)))
    healthy = asyncio.gather(*(health(n) for n in range(int(seconds / HEALTH_EVERY))))
    return await notified, await healthy


async def _ask(url: str, sent: bytes, seconds: float) -> int:
    """The status of the answer, on a new connection; 0 if none comes in time."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await connect(url)
            try:
                writer.write(sent)
                return await status(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return 0


async def _stay(url: str, sent: bytes) -> None:
    """Open a connection, send this and no more, and open another one whenever it ends."""
    # Not all at once, as they would not from as many machines.
    await asyncio.sleep(random.uniform(0, 1.5))  # noqa: S311
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await connect(url)
            try:
                writer.write(sent)
                await reader.read()
            finally:
                writer.close()
        await asyncio.sleep(random.uniform(0.5, 1.5) * BACK_AFTER)  # noqa: S311


async def _be_silent(url: str, silent: int, half_sent: int) -> None:
    halves = [HALF_HEAD if n % 2 else HALF_BODY for n in range(half_sent)]
    await asyncio.gather(*(_stay(url, sent) for sent in [b""] * silent + halves))


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_be_silent(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
