"""`GET /metrics` for Prometheus, read from the ledger at each scrape.

So any number of `serve` processes report the same, and workers need not be scraped. docs/serving.md has
the table of metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from config.settings import Settings
from worker.diagnosis.model import Cause
from worker.ledger.connection import sentence
from worker.ledger.outgoing import OutcomeType
from worker.ledger.tallies import CALL, LOOKS, SETTLES, Done, Link
from worker.report.summary import Report, last_days, read_report
from worker.status.snapshot import Status, read_status
from worker.web.access import Access
from worker.web.ledger_pool import LedgerPool

#: The meetings that are shown.
MEETINGS_OF = timedelta(days=30)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REFUSALS = {
    401: "Send the value of RECONCILER_METRICS_TOKEN or RECONCILER_BOARD_TOKEN as a bearer token.",
    429: "Too many wrong tokens came from this address. Wait a minute.",
}
REFUSED = {"WWW-Authenticate": 'Bearer realm="reconciler"'}

#: Totals by the values of their labels.
_Totals = Mapping[tuple[str, ...], int]

log = structlog.get_logger()


class Metrics:
    """Answers scrapes."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self._settings = settings
        self._access = access
        self._pool = LedgerPool(settings, 1, "metrics")

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route("/metrics", self.scrape)]

    def close(self) -> None:
        """End the thread and close the connections."""
        self._pool.close()

    async def scrape(self, request: Request) -> Response:
        """The current figures, for whoever may read them; 503 if the ledger is unavailable."""
        refused = self._access.metrics(request)
        if refused is not None:
            return PlainTextResponse(REFUSALS[refused] + "\n", refused, REFUSED)
        try:
            found = await self._pool.run(self._text)
        except RedisError as error:
            log.warning("metrics.unavailable", reason=type(error).__name__)
            return PlainTextResponse(
                (sentence(error) or "The ledger is unavailable.") + "\n", status_code=503
            )
        return Response(found, media_type=CONTENT_TYPE)

    def _text(self) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        ledger = self._pool.ledger
        status = read_status(ledger.redis, self._settings)
        days = last_days(status.at, MEETINGS_OF)
        report = read_report(ledger.redis, ledger.keys, *days)
        registry.register(_Moment(status, report))
        return generate_latest(registry)


class _Moment:
    """A collector of one status."""

    def __init__(self, status: Status, report: Report) -> None:
        self._status = status
        self._report = report

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        yield from _gauges(self._status)
        yield from _counters(self._status)
        yield _meetings(self._report)
        for name, meaning, kept in (
            ("look", "Looks, from the first call to Cronofy to the commit.", LOOKS),
            ("settle", "Events, from tracked to settled.", SETTLES),
        ):
            buckets, total = kept.read(self._status.counters)
            family = HistogramMetricFamily(f"reconciler_{name}_duration_seconds", meaning)
            family.add_metric([], buckets=buckets, sum_value=total)
            yield family


def _gauges(status: Status) -> Iterator[Metric]:
    budget = status.budget
    paused = (budget.paused_until - status.at).total_seconds() if budget.paused_until else 0.0
    next_start = status.soonest_unanswered
    soonest = (next_start - status.at).total_seconds() if next_start else None
    pending = {"unseen": status.unseen, **{cause.value: n for cause, n in status.causes.items()}}
    yield _labelled("reconciler_pending_events", "Pending events by cause.", "cause", pending)
    queues = {queue: n for queue, n in status.queues.items() if n is not None}
    yield _labelled("reconciler_queue_messages", "Messages waiting on a queue.", "queue", queues)
    limits = {"second": budget.per_second, "minute": budget.per_minute}
    yield _labelled("reconciler_budget_limit", "Calls the fleet may make.", "window", limits)
    used = {"minute": budget.used_last_minute}
    yield _labelled("reconciler_budget_used", "Calls made.", "window", used)
    named = ["kind", "provider", "data_center"]
    seconds = GaugeMetricFamily("reconciler_outage_seconds", "How long it has lasted.", labels=named)
    events = GaugeMetricFamily("reconciler_outage_events", "Events that wait for it together.", labels=named)
    for each in status.outages:
        labels = [each.kind, each.provider or "", each.data_center]
        seconds.add_metric(labels, (status.at - each.since).total_seconds())
        events.add_metric(labels, each.events)
    yield from (seconds, events)
    single: list[tuple[str, str, float | None]] = [
        ("budget_paused_seconds", "Time left of a pause after a 429.", paused),
        ("due_accounts", "Accounts with something to look at now.", status.due),
        ("leased_accounts", "Accounts being looked at.", status.leased),
        ("late_accounts", "Accounts due for more than a minute.", status.late),
        ("late_seconds", "How long the first of them has been due.", status.late_seconds),
        ("accounts_without_token", "Accounts that wait for an access token.", status.without_token),
        ("oldest_pending_seconds", "Age of the oldest pending event.", status.oldest_pending_seconds),
        ("soonest_start_seconds", "Time until the next start among unacknowledged, unheld events.", soonest),
        ("escalated_events", "Events that a person was told of, and nobody acknowledged.", status.escalated),
        ("acknowledged_events", "Events that somebody acknowledged.", status.acknowledged),
        ("dead_letters", "Dead letters kept.", status.dead_letters),
        ("mail_queued", "Emails waiting to be sent.", status.mail_queued),
        ("writable", "0 while the ledger's Redis takes no writes.", status.no_writes is None),
        ("outcomes_owed", "Outcomes that the outcome URL did not take yet.", status.outcomes_owed),
        ("outcomes_given_up", "Outcomes that the outcome URL never took.", status.outcomes_given_up),
        ("paused", "1 while an operator has paused the fleet.", status.paused_since is not None),
        ("client_refused", "1 while Cronofy refuses our client.", budget.client_refused),
        ("last_sweep_seconds", "Time since the last sweep.", status.last_sweep_seconds),
    ]
    for name, meaning, value in single:
        if value is not None:
            yield GaugeMetricFamily(f"reconciler_{name}", meaning, value=float(value))


def _counters(status: Status) -> Iterator[Metric]:
    counters = status.counters
    outcomes = {kind.value: counters.get(f"outcome:{kind.value}", 0) for kind in OutcomeType}
    yield _total("reconciler_outcomes", "Outcomes by type.", ["type"], {(k,): n for k, n in outcomes.items()})
    calls: _Totals = {
        tuple(name.split(":")[1:3]): n for name, n in counters.items() if name.startswith(f"{CALL}:")
    }
    yield _total("reconciler_api_calls", "Calls to Cronofy.", ["endpoint", "status"], calls)
    results = ("sent", "refused", "owed", "late")
    mails: _Totals = {(result,): counters.get(f"mail:{result}", 0) for result in results}
    yield _total("reconciler_mail", "Emails by result.", ["result"], mails)
    notifications: _Totals = {
        (result,): counters.get(f"notifications:{result}", 0)
        for result in ("taken", "bad_signature", "misdirected")
    }
    dropped: _Totals = {(why,): n for why, n in status.letters_dropped.items()}
    yield _total("reconciler_dead_letters_dropped", "Payloads not kept.", ["reason"], dropped)
    yield _total("reconciler_notifications", "Notifications by result.", ["result"], notifications)


def _meetings(report: Report) -> Metric:
    meaning = "Meetings of the last 30 days, by how they began."
    family = GaugeMetricFamily("reconciler_meetings", meaning, labels=["link", "cause", "done"])
    # Each way to begin has a series, even before anything did.
    found = Counter({(link.value, Cause.GENERATING.value, Done.NOTHING.value): 0 for link in Link})
    for day in report.days:
        for meeting, number in day.meetings.items():
            found[meeting.link.value, meeting.cause.value, meeting.done.value] += number
    for labels, number in sorted(found.items()):
        family.add_metric(list(labels), number)
    return family


def _labelled(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _total(name: str, meaning: str, labels: list[str], values: _Totals) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for value, number in sorted(values.items()):
        family.add_metric(list(value), number)
    return family
