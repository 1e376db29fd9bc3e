"""Cronofy in trouble: what each kind of broken answer to each call leads to.

The same rows drive the tests and the documentation's table.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from benchmarks.report import Report
from tests.faults.stage import Stage
from tests.integration.world import World
from worker.ledger.outcomes import OutcomeType

#: Applies a fault, at the sandbox or on the way to it, until the block ends.
Lay = Callable[[Stage, World], AbstractContextManager[None]]

EVENTS = {"method": "GET", "path_prefix": "/v1/events"}
USERINFO = {"method": "GET", "path_prefix": "/v1/userinfo"}
UPDATE = {"method": "POST", "path_prefix": "/v1/calendars"}
BATCH = {"method": "POST", "path_prefix": "/v1/batch"}
REFRESH = {"method": "POST", "path_prefix": "/oauth/token"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Faults of one call that have the same effect."""

    call: str
    faults: Mapping[str, Lay]
    #: For the documentation: what the program does.
    done: str
    #: The last line of the event's history (what, how it begins), or None if nothing is recorded.
    history: tuple[str, str] | None
    #: The log event.
    logged: Sequence[str]
    #: The outcome published at once.
    outcome: OutcomeType | None = None
    #: What else an operator sees, and when.
    later: str = ""


def _fault(match: Mapping[str, Any], kind: str, **fields: Any) -> Lay:
    @contextmanager
    def lay(stage: Stage, world: World) -> Iterator[None]:
        world.control.add_fault(kind, match=match, **fields)
        with _impatient(stage) if kind in ("hang", "drip") else nullcontext():
            yield
        world.control.clear_faults()

    return lay


def _impatient(stage: Stage) -> AbstractContextManager[object]:
    """Do not wait long for what will never come."""
    return patch.object(stage.services.looker.cronofy.http, "_timeout", timedelta(seconds=0.3))


@contextmanager
def _full(stage: Stage, _: World) -> Iterator[None]:
    """Cronofy's host accepts no more connections: connection attempts go unanswered."""
    cronofy, here = stage.services.looker.cronofy, stage.services.looker.cronofy.api_url
    waiting = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _n in range(3):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        cronofy.api_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with _impatient(stage):
                yield
        finally:
            cronofy.api_url = here
            for connection in waiting:
                connection.close()


def _statuses(match: Mapping[str, Any], *statuses: int, **fields: Any) -> dict[str, Lay]:
    return {str(status): _fault(match, "status", status=status, **fields) for status in statuses}


def _passing(match: Mapping[str, Any]) -> dict[str, Lay]:
    """Faults that say nothing about the request itself."""
    return {
        **_statuses(match, 500, 502, 503, 504),
        "401, also after a refresh": _fault(match, "status", status=401),
        "423": _fault(match, "status", status=423),
        "no answer": _fault(match, "hang"),
        "a body that drips": _fault(match, "drip"),
        "a reset": _fault(match, "reset"),
        "a truncated body": _fault(match, "truncated"),
        "HTML": _fault(match, "html"),
        "HTML with status 200": _fault(match, "html", status=200),
    }


def _misshapen(match: Mapping[str, Any], **bodies: Any) -> dict[str, Lay]:
    return {
        f"JSON of the wrong shape ({name.replace('_', ' ')})": _fault(match, "wrong_shape", body=body)
        for name, body in bodies.items()
    }


def _limited(match: Mapping[str, Any]) -> dict[str, Lay]:
    return {
        "429": _fault(match, "status", status=429),
        "429 with `Retry-After` in seconds": _fault(match, "status", status=429, retry_after=20),
        "429 with `Retry-After` as a date": _fault(
            match, "status", status=429, retry_after="date", seconds=20
        ),
    }


def _entries(*statuses: int) -> dict[str, Lay]:
    return {str(status): _fault(BATCH, "batch_entry", status=status, entry=1) for status in statuses}


OVERDUE = "`escalated` with the reason, once, if three looks in a row failed and the event is overdue"
PAUSED = "the whole fleet pauses: as told by `Retry-After`, at most 2 min, else 2 s doubling to 60 s"

ROWS: tuple[Trouble, ...] = (
    Trouble(
        "Read Events",
        {
            **_passing(EVENTS),
            "no connection": _full,
            **_misshapen(EVENTS, a_list=[], no_events={"pages": {}}, events_that_are_none={"events": [7]}),
            "a page loop": _fault(EVENTS, "page_loop"),
            "a next page on another origin": _fault(EVENTS, "foreign_next_page"),
        },
        "nothing is concluded; all due events are looked at again after a pause that doubles up to 10 min",
        ("look_failed", "Cronofy|Read Events|The pages|The next page"),
        ["look.failed"],
        later=OVERDUE,
    ),
    Trouble(
        "Read Events",
        _statuses(EVENTS, 402, 404, 422),
        "the same; after a 404 or 422 without naming calendars first",
        ("look_failed", "(Our )?Cronofy"),
        ["look.failed"],
        later=OVERDUE,
    ),
    Trouble(
        "Read Events",
        _limited(EVENTS),
        f"{PAUSED}; the account stays due",
        None,
        ["budget.paused", "look.put_off"],
    ),
    Trouble(
        "Read Events",
        _statuses(EVENTS, 403),
        "the account is lost: no more calls for it until it is connected again",
        ("account_unauthorized", "close"),
        ["account.lost"],
        OutcomeType.ACCOUNT_LOST,
    ),
    Trouble(
        "UserInfo",
        {
            **_passing(USERINFO),
            "an empty object": _fault(USERINFO, "empty_userinfo"),
            **_misshapen(USERINFO, a_list=[], another_account={"sub": "acc_other", "cronofy.data": {}}),
            **_statuses(USERINFO, 402, 404, 422),
        },
        "what the read alone decides is settled; the other events are looked at again, as above",
        ("look_failed", "(Our )?Cronofy|UserInfo"),
        ["look.failed"],
        later=OVERDUE,
    ),
    Trouble(
        "UserInfo",
        _limited(USERINFO),
        f"{PAUSED}; what is undecided stays due",
        None,
        ["budget.paused", "look.put_off"],
    ),
    Trouble(
        "UserInfo",
        _statuses(USERINFO, 403),
        "the account is lost",
        ("account_unauthorized", "close"),
        ["account.lost"],
        OutcomeType.ACCOUNT_LOST,
    ),
    Trouble(
        "a token's refresh",
        {
            **{name: lay for name, lay in _passing(REFRESH).items() if not name.startswith("401")},
            **_statuses(REFRESH, 401, 403),
            **_misshapen(REFRESH, no_token={}, another_error={"error": "temporarily_unavailable"}),
        },
        "nothing is concluded of the account; all due events are looked at again, as above",
        ("look_failed", "Cronofy|The token refresh"),
        ["look.failed"],
        later=OVERDUE,
    ),
    Trouble(
        "Update Event",
        # Accepted writes have no body that could break.
        {name: lay for name, lay in _passing(UPDATE).items() if "body" not in name},
        "its intent is on record; it is sent again only after another read still shows the event pending",
        ("write_failed", "(Our )?Cronofy"),
        ["update.failed"],
    ),
    Trouble(
        "Batch",
        {**_passing(BATCH), **_misshapen(BATCH, a_list=[], too_few_entries={"batch": []})},
        "the same, for each of its events",
        ("write_failed", "Cronofy|The batch"),
        ["update.failed"],
    ),
    Trouble(
        "an entry of a batch",
        _entries(401, 423, 500, 503),
        "the same, for its event alone",
        ("write_failed", "(Our )?Cronofy"),
        ["update.failed"],
    ),
    Trouble(
        "Update Event",
        _statuses(UPDATE, 404),
        "nothing was written, and the address alone may be at fault; it is sent again",
        ("write_failed", "Cronofy cannot find"),
        ["update.failed"],
        later="`escalated` with the reason, once, if three looks in a row failed so",
    ),
    Trouble(
        "Update Event",
        _statuses(UPDATE, 402, 403, 422),
        "this profile is never set on this event again; a person has to decide",
        ("write_refused", "(Our )?Cronofy"),
        ["update.failed"],
        OutcomeType.ESCALATED,
    ),
    Trouble(
        "an entry of a batch",
        _entries(402, 403, 422),
        "the same, for its event alone",
        ("write_refused", "(Our )?Cronofy"),
        ["update.failed"],
        OutcomeType.ESCALATED,
    ),
    Trouble(
        "Update Event",
        _limited(UPDATE),
        f"{PAUSED}; the event stays due",
        ("profile_removed", "reassign_profile"),
        ["budget.paused", "update.put_off"],
    ),
    Trouble(
        "an entry of a batch",
        _entries(429),
        "the same, for its event alone",
        ("profile_removed", "reassign_profile"),
        ["budget.paused", "update.put_off"],
    ),
)


def report() -> Report:
    """The table for the documentation."""
    rows = [
        {
            "call": row.call,
            "answer": "; ".join(row.faults),
            "what is done": row.done,
            "history": " ".join(f"`{word}`" for word in _recorded(row)),
            "log": ", ".join(f"`{event}`" for event in row.logged),
            "told": f"`{row.outcome}`" if row.outcome else "",
            "later": row.later,
        }
        for row in ROWS
    ]
    return Report("cronofy", "Cronofy in trouble", [*rows[0]], rows)


def _recorded(row: Trouble) -> Sequence[str]:
    if row.history is None:
        return []
    what, done = row.history
    # What went wrong is recorded in its own words.
    return [what] if what.endswith(("_failed", "_refused")) else [what, done]
