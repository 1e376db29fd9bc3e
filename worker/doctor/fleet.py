"""Whether the fleet's processes are running and keeping up, according to the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from redis.exceptions import RedisError

from config.queues import Queues
from config.settings import Settings
from worker.broker.served import strangers
from worker.doctor.finding import Finding, ok, skipped, warning, wrong
from worker.doctor.outside import CREDENTIALS
from worker.doctor.servers import PATIENCE
from worker.ledger.connection import connect_once
from worker.ledger.dead_letters import MOST
from worker.status.snapshot import Status, read_status
from worker.status.trouble import troubles
from worker.wording import amount, spoken


def examine_fleet(settings: Settings) -> Iterator[Finding]:
    """Workers, queues, beat, pause, access tokens and dead letters."""
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            status = read_status(redis, settings)
    except RedisError:
        for name in ("workers", "queues", "beat", "pause", "access tokens", "dead letters"):
            yield skipped(name, "Redis is unavailable")
        return
    if status.no_writes is None:
        yield _workers(status)
        yield from _others(settings)
        yield from _queues(status)
        yield _beat(status, settings)
    else:
        # Neither workers nor beat could report.
        for name in ("workers", "queues", "beat"):
            yield skipped(name, "Redis takes no writes")
    if status.budget.client_refused:
        what = "Cronofy refuses our client: only one refresh a minute, until one is accepted"
        yield wrong("client", what, f"{CREDENTIALS}, and restart the workers")
    for trouble in troubles(status):
        verdict = wrong if trouble.is_grave else warning
        yield verdict(trouble.name, trouble.sentence, trouble.fix)
    yield _pause(status)
    yield _tokens(status)
    yield _letters(status)


def _workers(status: Status) -> Finding:
    if status.workers:
        return ok("workers", f"{amount(status.workers, 'worker')} seen in the last 30 s")
    return wrong("workers", "none seen in the last 30 s", "start one: reconciler worker")


def _others(settings: Settings) -> Iterator[Finding]:
    """Workers of another application, which take what is meant for ours."""
    others = strangers(settings)
    if others:
        what = f"some with {' and '.join(others)} consume from our queues"
        yield wrong("workers", what, "give each fleet a RECONCILER_KEY_PREFIX of its own")


def _queues(status: Status) -> Iterator[Finding]:
    if None in status.queues.values():
        yield skipped("queues", "the broker does not report their lengths")
        return
    unconsumed = [queue for queue in status.queues if queue not in status.consumed]
    for queue in unconsumed:
        waiting = status.queues[queue] or 0
        fix = f"start a worker for it: reconciler worker -Q {queue}"
        if waiting:
            yield wrong("queues", f"{amount(waiting, 'message')} on {queue}, but no worker consumes it", fix)
        elif status.workers:
            yield warning("queues", f"no worker consumes {queue}", fix)
    total = sum(length or 0 for length in status.queues.values())
    if not unconsumed:
        yield ok("queues", f"{amount(total, 'message')} waiting, each queue has a worker")
    elif not status.workers and not total:
        yield ok("queues", "no messages waiting")


def _beat(status: Status, settings: Settings) -> Finding:
    fix = "start one: reconciler beat"
    looks = Queues.of(settings.key_prefix).looks
    if looks not in status.consumed:
        fix += f", and a worker that consumes {looks}"
    if status.last_sweep_seconds is None:
        return wrong("beat", "there has never been a sweep", fix)
    last = f"the last sweep was {status.last_sweep}"
    if status.sweep_is_late(settings.sweep_every):
        return wrong("beat", f"{last}, and one is due every {spoken(settings.sweep_every)}", fix)
    return ok("beat", last)


def _pause(status: Status) -> Finding:
    if status.paused_since is None:
        return ok("pause", "none")
    since = spoken(status.at - status.paused_since)
    what = f"an operator paused the fleet {since} ago: no calls to Cronofy, no emails"
    return warning("pause", what, "end it: reconciler resume")


def _tokens(status: Status) -> Finding:
    if not status.without_token:
        return ok("access tokens", "no account waits for one")
    what = f"{amount(status.without_token, 'account waits', 'accounts wait')} for one from the application"
    fix = "have the application answer token_needed with conferencing.connect_account"
    return warning("access tokens", what, fix)


def _letters(status: Status) -> Finding:
    if status.dead_letters >= MOST:
        dropped = sum(status.letters_dropped.values())
        what = f"full: {status.dead_letters:,} kept, and {amount(dropped, 'payload')} dropped so far"
        return wrong("dead letters", what, "replay or drop them: reconciler dead-letters")
    if not status.dead_letters:
        return ok("dead letters", "none")
    kept = f"{amount(status.dead_letters, 'letter')} kept"
    if status.parked:
        kept += f", {amount(status.parked, 'event')} parked"
    return warning("dead letters", kept, "see why: reconciler dead-letters")
