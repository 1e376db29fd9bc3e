"""The board's page of workers and queues."""

from __future__ import annotations

from config.queues import Queues
from config.settings import Settings
from worker.broker.queues import known_queue_lengths
from worker.ledger.figures import Lag, read_lag, read_workers
from worker.ledger.ledger import Ledger
from worker.web.board.listing import Cell, Listing, Table

WHAT = {
    "urgent": "questions, notifications, decisions",
    "intake": "what callers send",
    "mail": "emails and outcomes",
    "looks": "looks at accounts",
}


def read_workers_page(ledger: Ledger, settings: Settings) -> Listing:
    """Who takes from each queue, how much waits there, and since when."""
    workers, now = read_workers(ledger.redis, ledger.keys), ledger.now()
    lengths, lag = known_queue_lengths(settings), read_lag(ledger.redis, ledger.keys, now)
    queues: list[tuple[Cell, ...]] = []
    for name, queue in zip(Queues._fields, Queues.of(settings.key_prefix), strict=True):
        takers = sum(queue in each.queues for each in workers)
        length = lengths.get(queue)
        waits = "unknown" if length is None else length
        queues.append((queue, WHAT[name], takers, waits, _behind(name, lag)))
    rows = [(each.name, ", ".join(each.queues), each.seen) for each in workers]
    none = "No worker reported within the last minute."
    return Listing(
        "Workers and queues",
        "/workers",
        Table(("queue", "for", "workers", "messages", "the work waits since (UTC)"), queues, title="Queues"),
        note="A message is only a wake-up: what is due is in the ledger, and that is what waits.",
        beside=(Table(("worker", "takes from", "reported at (UTC)"), rows, none, "Workers"),),
    )


def _behind(name: str, lag: Lag) -> Cell:
    if name == "looks":
        return lag.look
    first = [each for each in (lag.mail, lag.outcome) if each is not None]
    return min(first, default=None) if name == "mail" else None
