"""How much of what Cronofy answers is in memory at once."""

from __future__ import annotations

import json
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import worker.cronofy.client
from sandbox.server import RunningSandbox
from tests.integration.test_cronofy_raw import RawServer, caller_at, http
from worker.cronofy.errors import Malformed
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey

MB = 1_000_000
#: Events as calendars hold them, with attendees and a description.
EVENTS = 800
PAGES = 8


def an_event(number: int, page: int) -> dict[str, Any]:
    """An event of the wire, of some 1.3 KB."""
    return {
        "calendar_id": "cal",
        "event_id": f"e{page}-{number}",
        "event_uid": f"evt_{page}_{number}",
        "summary": f"Interview {number}",
        "description": "x" * 400,
        "start": {"time": "2030-01-01T10:00:00Z", "tzid": "Etc/UTC"},
        "end": {"time": "2030-01-01T11:00:00Z", "tzid": "Etc/UTC"},
        "attendees": [
            {"email": f"p{n}@example.org", "display_name": f"P {n}", "status": "x"} for n in range(9)
        ],
        "conferencing": {"pending": True},
    }


def pages(url: Callable[[], str]) -> Callable[[socket.socket], None]:
    """Answers each request with the next page, the last without another."""
    bodies: Iterator[bytes] = (
        json.dumps(
            {
                "pages": {"next_page": f"{url()}/v1/events/pages/{page}" if page < PAGES else None},
                "events": [an_event(number, page) for number in range(EVENTS)],
            }
        ).encode()
        for page in count(1)
    )

    return lambda connection: connection.sendall(http("200 OK", next(bodies)))


@pytest.fixture
def server() -> Iterator[RawServer]:
    """A server of large pages."""
    place: list[str] = []
    with RawServer(pages(lambda: place[0])) as server:
        place.append(server.url)
        yield server


def test_events_that_nobody_tracks_are_dropped_as_they_are_parsed(
    running: RunningSandbox, ledger: Ledger, server: RawServer
) -> None:
    """Eight pages of 1 MB take no more than a few times the size of one."""
    wanted = {EventKey("cal", f"e{page}-7") for page in range(1, PAGES + 1)}
    with caller_at(running, ledger, server.url, timeout=20) as caller:
        tracemalloc.start()
        try:
            found = caller.session().read_events({"cal"}, None, wanted=wanted)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert found.keys() == wanted
    [kept] = found[EventKey("cal", "e1-7")]
    assert "attendees" not in kept
    assert peak < 8 * MB, f"{peak / MB:.0f} MB"


def test_pages_are_bounded_in_sum(
    running: RunningSandbox, ledger: Ledger, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may be as large as a page is, but not all of them together."""
    monkeypatch.setattr(worker.cronofy.client, "LARGEST_READING", 2.4 * MB)
    with caller_at(running, ledger, server.url, timeout=20) as caller:
        session = caller.session()
        with pytest.raises(Malformed, match="too large together"):
            session.read_events({"cal"}, None)

    assert session.pages == 3
