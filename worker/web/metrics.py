"""`GET /metrics` for Prometheus, read from the ledger at each scrape.

So any number of `serve` processes report the same, and workers need not be scraped. docs/serving.md has
the table of metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TypeVar

import structlog
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from config.settings import Settings
from worker.diagnosis.model import Cause
from worker.ledger.connection import kind_of, refusal
from worker.ledger.outcomes import OutcomeType
from worker.ledger.tallies import CALL, LOOKS, SETTLES, Done, Link
from worker.report.summary import Report, last_days, read_report
from worker.status.snapshot import Status, read_status
from worker.status.trouble import troubles
from worker.trouble import Kind
from worker.web.access import Access
from worker.web.ledger_pool import LedgerPool

#: The meetings that are shown.
MEETINGS_OF = timedelta(days=30)

REFUSALS = {
    401: "Send the value of RECONCILER_METRICS_TOKEN or RECONCILER_BOARD_TOKEN as a bearer token.",
    429: "Too many wrong tokens came from this address. Wait a minute.",
}
REFUSED = {"WWW-Authenticate": 'Bearer realm="reconciler"'}

#: The value of a figure's one label, or those of several.
Labels = TypeVar("Labels", bound=str | tuple[str, ...])

log = structlog.get_logger()


class Metrics:
    """Answers scrapes."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self._settings = settings
        self._access = access
        self._pool = LedgerPool(settings, 1, "metrics")

    def routes(self) -> list[Route]:
        return [Route("/metrics", self.scrape)]

    def close(self) -> None:
        self._pool.close()

    async def scrape(self, request: Request) -> Response:
        """The current figures, for whoever may read them; 503 if the ledger is unavailable."""
        refused = self._access.metrics(request)
        if refused is not None:
            return PlainTextResponse(REFUSALS[refused] + "\n", refused, REFUSED)
        try:
            text = await self._pool.run(self._text)
        except RedisError as error:
            log.warning("metrics.unavailable", reason=type(error).__name__)
            kind = kind_of(refusal(error))
            if kind is None:
                return PlainTextResponse("The ledger is unavailable.\n", status_code=503)
            # Only that: every other series has a gap instead of wrong figures.
            text = generate_latest(_Families([_troubles({kind: 1})]))
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def _text(self) -> bytes:
        ledger = self._pool.ledger
        status = read_status(ledger.redis, self._settings)
        report = read_report(ledger.redis, ledger.keys, *last_days(status.at, MEETINGS_OF))
        return generate_latest(
            _Families([*_gauges(status), *_counters(status), _meetings(report), *_histograms(status)])
        )


class _Families(list[Metric]):
    """Metrics, as Prometheus's client wants to be given them."""

    def collect(self) -> Iterable[Metric]:
        return self


def _gauges(status: Status) -> Iterator[Metric]:
    present = {trouble.kind for trouble in troubles(status)}
    yield _troubles({kind: kind in present for kind in Kind})
    budget = status.budget
    paused = (budget.paused_until - status.at).total_seconds() if budget.paused_until else 0.0
    next_start = status.soonest_unanswered
    soonest = (next_start - status.at).total_seconds() if next_start else None
    pending = {"unseen": status.unseen, **{cause.value: n for cause, n in status.causes.items()}}
    yield _gauge("pending_events", "Pending events by cause.", ["cause"], pending)
    queues = {queue: n for queue, n in status.queues.items() if n is not None}
    yield _gauge("queue_messages", "Messages waiting on a queue.", ["queue"], queues)
    limits = {"second": budget.per_second, "minute": budget.per_minute}
    yield _gauge("budget_limit", "Calls the fleet may make.", ["window"], limits)
    yield _gauge("budget_used", "Calls made.", ["window"], {"minute": budget.used_last_minute})
    named = ["kind", "provider", "data_center"]
    outages = {(each.kind, each.provider or "", each.data_center): each for each in status.outages}
    lasted = {labels: (status.at - each.since).total_seconds() for labels, each in outages.items()}
    yield _gauge("outage_seconds", "How long it has lasted.", named, lasted)
    held = {labels: each.events for labels, each in outages.items()}
    yield _gauge("outage_events", "Events that wait for it together.", named, held)
    if status.soonest_escalated:
        start, cause = status.soonest_escalated
        left = {(cause or Cause.GENERATING).value: (start - status.at).total_seconds()}
        meaning = "Time until the next start among escalated events."
        yield _gauge("soonest_escalated_seconds", meaning, ["cause"], left)
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
    def counted(prefix: str, names: Iterable[str]) -> dict[str, int]:
        return {name: status.counters.get(f"{prefix}:{name}", 0) for name in names}

    calls = {
        tuple(name.split(":")[1:3]): n for name, n in status.counters.items() if name.startswith(f"{CALL}:")
    }
    results = ["result"]
    mails = counted("mail", ("sent", "refused", "owed", "late"))
    notifications = counted("notifications", ("taken", "bad_signature", "misdirected"))
    yield _total("outcomes", "Outcomes by type.", ["type"], counted("outcome", OutcomeType))
    yield _total("api_calls", "Calls to Cronofy.", ["endpoint", "status"], calls)
    yield _total("mail", "Emails by result.", results, mails)
    yield _total("dead_letters_dropped", "Payloads not kept.", ["reason"], status.letters_dropped)
    yield _total("notifications", "Notifications by result.", results, notifications)


def _histograms(status: Status) -> Iterator[Metric]:
    for name, meaning, kept in (
        ("look", "Looks, from the first call to Cronofy to the commit.", LOOKS),
        ("settle", "Events, from tracked to settled.", SETTLES),
    ):
        buckets, total = kept.read(status.counters)
        family = HistogramMetricFamily(f"reconciler_{name}_duration_seconds", meaning)
        family.add_metric([], buckets=buckets, sum_value=total)
        yield family


def _meetings(report: Report) -> Metric:
    # Each way to begin has a series, even before anything did.
    found = Counter({(link.value, Cause.GENERATING.value, Done.NOTHING.value): 0 for link in Link})
    for day in report.days:
        for meeting, number in day.meetings.items():
            found[meeting.link.value, meeting.cause.value, meeting.done.value] += number
    meaning = "Meetings of the last 30 days, by how they began."
    return _gauge("meetings", meaning, ["link", "cause", "done"], found)


def _troubles(values: Mapping[str, float]) -> Metric:
    return _gauge("trouble", "1 while this is wrong.", ["trouble"], values)


def _gauge(name: str, meaning: str, labels: list[str], values: Mapping[Labels, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"reconciler_{name}", meaning, labels=labels), values)


def _total(name: str, meaning: str, labels: list[str], values: Mapping[Labels, float]) -> Metric:
    return _filled(CounterMetricFamily(f"reconciler_{name}", meaning, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Labels, float]) -> Metric:
    for labels, number in sorted(values.items()):
        family.add_metric([labels] if isinstance(labels, str) else list(labels), number)
    return family
