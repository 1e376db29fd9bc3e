"""Whether the fleet's processes are running and keeping up, according to the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from redis.exceptions import RedisError

from config.settings import Settings
from worker.broker.served import strangers
from worker.doctor.finding import Finding, ok, skipped, warning, wrong
from worker.doctor.servers import PATIENCE
from worker.ledger.connection import connect_once
from worker.status.snapshot import Status, read_status
from worker.status.trouble import Trouble, troubles
from worker.wording import amount

#: What is said while nothing is wrong, for those that are worth a line then.
_WELL: Mapping[str, Callable[[Status], str]] = {
    "redis clock": lambda _: "agrees with this host's and the workers'",
    "workers": lambda status: f"{amount(status.workers, 'worker')} seen in the last 30 s",
    "queues": lambda status: (
        f"{amount(_waiting(status), 'message')} waiting, each queue has a worker"
        if status.workers
        else "no messages waiting"
    ),
    "beat": lambda status: f"the last sweep was {status.last_sweep}",
    "pause": lambda _: "none",
    "access tokens": lambda _: "no account waits for one",
    "dead letters": lambda _: "none",
}
#: What can only be said of processes that can report.
_REPORTED = ("workers", "queues", "beat")
#: Other checks say the same, in the same words.
_ELSEWHERE = frozenset({"redis", "redis latency", "broker"})


def examine_fleet(settings: Settings) -> Iterator[Finding]:
    """Whatever `status` says needs attention; and what is well."""
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            status = read_status(redis, settings)
    except RedisError:
        for name in _WELL:
            yield skipped(name, "Redis does not answer")
        return
    found = [trouble for trouble in troubles(status) if trouble.words.name not in _ELSEWHERE]
    silent = _why_silent(status)
    for name, well in _WELL.items():
        told = [trouble for trouble in found if trouble.words.name == name]
        yield from map(_finding, told)
        if name == "workers":
            yield from _others(settings)
        if silent and name in _REPORTED:
            yield skipped(name, silent)
        elif not (told or status.workers) and _awaits_worker(name, status):
            yield skipped(name, "no worker is running")
        elif not told:
            yield ok(name, well(status))
    yield from (_finding(trouble) for trouble in found if trouble.words.name not in _WELL)


def _finding(trouble: Trouble) -> Finding:
    verdict = wrong if trouble.words.is_grave else warning
    fix, command = trouble.words.fix, trouble.command
    if command not in fix and command != "reconciler doctor":
        fix += f": {command}"
    return verdict(trouble.words.name, trouble.what, fix)


def _why_silent(status: Status) -> str | None:
    """Why neither workers nor beat could report, if so."""
    if status.no_writes is not None:
        return "Redis takes no writes"
    if status.distance.is_crawling:
        return "Redis is slow"
    return "the broker does not answer" if None in status.queues.values() else None


def _awaits_worker(name: str, status: Status) -> bool:
    """Whether nothing can be said of it before there is a worker."""
    if name == "queues":
        return _waiting(status) > 0
    return name == "beat" and status.sweep_is_late


def _waiting(status: Status) -> int:
    return sum(length or 0 for length in status.queues.values())


def _others(settings: Settings) -> Iterator[Finding]:
    """Workers of another application, which take what is meant for ours."""
    others = strangers(settings)
    if others:
        what = f"some with {' and '.join(others)} consume from our queues"
        yield wrong("workers", what, "give each fleet a RECONCILER_KEY_PREFIX of its own")
