"""Writes the report on the last month, once, on the first of the next."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast
from urllib.parse import urljoin

import structlog

from worker.bootstrap import Services
from worker.ledger.tallies import Link
from worker.mail.compose import ReportEmail
from worker.report.summary import Report, percent, read_report, sentences
from worker.report.table import parts

#: So long after midnight (UTC) on the first of a month, the meetings of the last day are settled.
SETTLED_AFTER = timedelta(hours=6)

log = structlog.get_logger()


def is_report_due(services: Services) -> bool:
    """Whether the month changed since the last report; never without an address, or while paused."""
    settings, ledger = services.settings, services.ledger
    if settings.report_email is None or settings.dry_run or ledger.paused_since() is not None:
        return False
    return _reported(services) != _month(ledger.now())


def write_report(services: Services) -> bool:
    """Put the email into the outbox if it is due; returns whether it was.

    The first time there is nothing to report yet: nobody knows since when meetings were counted.
    """
    if not is_report_due(services):
        return False
    settings, ledger, now = services.settings, services.ledger, services.ledger.now()
    month, is_first = _month(now), _reported(services) is None
    last = (now - SETTLED_AFTER).date().replace(day=1) - timedelta(days=1)
    report = read_report(ledger.redis, ledger.keys, last.replace(day=1), last)
    mail_id = f"report-{last:%Y-%m}"
    board_url = urljoin(settings.board_url, "/report") if settings.board_url else None
    mail = services.looker.emails.report(mail_id, _email(settings.report_email or "", report, board_url), now)
    written = ledger.put_report(month, None if is_first else mail)
    if written:
        log.info("report.written", month=f"{last:%Y-%m}")
    return written


def _month(now: datetime) -> str:
    return f"{now - SETTLED_AFTER:%Y-%m}"


def _reported(services: Services) -> str | None:
    month = cast("bytes | None", services.ledger.redis.get(services.ledger.keys.reported))
    return month.decode() if month else None


def _email(address: str, report: Report, board_url: str | None) -> ReportEmail:
    share = report.share
    return ReportEmail(
        to=address,
        month=f"{report.first:%Y-%m}",
        headline="none could have had its link"
        if share is None
        else f"{percent(share)} began with their link",
        sentences=tuple(sentences(report)),
        parts=tuple(
            (
                heading,
                tuple(
                    (text, row.links[Link.WITH], row.links[Link.WITHOUT], row.links[Link.TOO_LATE])
                    for text, row in rows
                ),
            )
            for heading, rows in parts(report)
        ),
        board_url=board_url,
    )
