"""Searches the ledger for ids that no index covers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from worker.ledger.ledger import Ledger
from worker.ledger.paging import of_each
from worker.ledger.records import EventKey

SCANNED_AT_A_TIME = 2000
#: How Celery's keys for results begin, in the ledger's Redis.
RESULT = "celery-task-meta-"


def is_known(ledger: Ledger, sub: str) -> bool:
    """Whether anything is stored for an account: credentials or events."""
    keys = ledger.keys
    return bool(ledger.redis.exists(keys.account(sub), keys.events(sub), keys.settled(sub)))


def events_of(ledger: Ledger, sub: str) -> list[EventKey]:
    """The events of an account, pending or settled, readable or not."""
    return [EventKey.of_field(field) for field in fields_of(ledger, sub)]


def fields_of(ledger: Ledger, sub: str) -> list[bytes]:
    """The same as their hash fields: an account may have very many."""
    hashes = ledger.keys.events(sub), ledger.keys.settled(sub)
    found = of_each(ledger.redis, hashes, lambda pipe, key: pipe.hkeys(key))
    return [field for fields in found for field in fields]


def accounts(ledger: Ledger) -> Iterator[list[str]]:
    """The ids of all connected accounts, in steps, so that the caller may stop in between.

    A step may be empty, and an account may come twice.
    """
    yield from _ids(ledger, ledger.keys.account)


def events(ledger: Ledger) -> Iterator[list[tuple[str, EventKey]]]:
    """Every event with its account, pending ones first, in steps like those of `accounts`."""
    for key_of in (ledger.keys.events, ledger.keys.settled):
        for subs in _ids(ledger, key_of):
            answers = of_each(ledger.redis, map(key_of, subs), lambda pipe, key: pipe.hkeys(key))
            yield [
                (sub, EventKey.of_field(field))
                for sub, fields in zip(subs, answers, strict=True)
                for field in fields
            ]


def results(ledger: Ledger) -> Iterator[list[bytes]]:
    """The keys of all tasks' results, in steps like those of `accounts`."""
    yield from _scan(ledger, f"{RESULT}*")


def _ids(ledger: Ledger, key_of: Callable[[str], str]) -> Iterator[list[str]]:
    """The ids that have such a key, one step of the server's scan at a time."""
    head = key_of("")
    for found in _scan(ledger, key_of("*")):
        yield [key.decode().removeprefix(head) for key in found]


def _scan(ledger: Ledger, pattern: str) -> Iterator[list[bytes]]:
    cursor = 0
    while True:
        after, found = ledger.redis.scan(cursor, match=pattern, count=SCANNED_AT_A_TIME)
        yield cast("list[bytes]", found)
        cursor = int(after)
        if cursor == 0:
            return
