"""Lines of a file are handed over many at a time, as if each were alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis.exceptions import ConnectionError as RedisConnectionError
from rich.console import Console
from rich.progress import Progress

from config.settings import Settings, load_settings
from tests.waiting import wait_until
from worker.bootstrap import Services, bootstrap
from worker.intake import accept
from worker.intake.bulk import AT_ONCE, import_lines
from worker.intake.payloads import ConnectAccount, TrackEvent
from worker.ledger.records import EventKey


@pytest.fixture
def settings(redis_url: str, prefix: str) -> Settings:
    """Of a fleet of its own."""
    return load_settings(
        redis_url=redis_url,
        key_prefix=prefix,
        vault_keys=Fernet.generate_key().decode(),
        cronofy_client_id="client",
        cronofy_client_secret="secret",
    )


def hidden(**console: Any) -> Progress:
    """A bar on a console that is no terminal."""
    return Progress(console=Console(**console), disable=True)


def line(event_id: str, summary: str = "Interview", **changes: Any) -> bytes:
    """An event to track, as a line of a file."""
    event = {"event_id": event_id, "summary": summary, "start": "2099-01-01T09:00:00Z"}
    return json.dumps({"sub": "acc", "calendar_id": "cal", "event": event, **changes}).encode() + b"\n"


def imported(settings: Settings, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, int, str]:
    """How many were imported and refused, and what was printed."""
    with path.open("rb") as lines:
        counts = import_lines(settings, lines, TrackEvent, accept.track_all, hidden(width=200))
    return *counts, capsys.readouterr().out


def test_each_bad_line_is_refused_by_its_number(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the file, wherever in a batch it stands; all others are tracked."""
    bad = {2: b"{", AT_ONCE: line("bad", colour="red"), AT_ONCE + 1: line("bad", sub=""), 250: b"[]\n"}
    bad[2] += b"\n"
    path, count = tmp_path / "lines", 3 * AT_ONCE
    path.write_bytes(b"".join(bad.get(n, line(f"event-{n}")) for n in range(1, count + 1)))

    assert imported(settings, path, capsys) == (
        count - len(bad),
        len(bad),
        "line 2: This is not JSON.\n"
        f"line {AT_ONCE}: colour: is unknown\n"
        f"line {AT_ONCE + 1}: sub: String should have at least 1 character\n"
        "line 250: This is not a JSON object.\n",
    )
    with closing(bootstrap(settings)) as services:
        assert len(services.ledger.pending("acc")) == count - len(bad)
        assert services.ledger.counters()["events:pending"] == count - len(bad)


def test_the_last_line_about_an_event_counts(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its history has the former ones, as if each had come alone."""
    path = tmp_path / "lines"
    path.write_bytes(b"".join(line("event", f"Round {n}") + line(f"other-{n}") for n in range(3)))

    assert imported(settings, path, capsys) == (6, 0, "")
    with closing(bootstrap(settings)) as services:
        found = services.ledger.find("acc", EventKey("cal", "event"))
        assert found
        assert found.event.body["summary"] == "Round 2"
        assert found.event.history
        assert services.ledger.counters()["events:pending"] == 4


def test_the_last_line_about_an_account_counts(settings: Settings, tmp_path: Path) -> None:
    """What it does not give stays; each account that is new is reported once."""
    path = tmp_path / "lines"
    both = {"refresh_token": "token", "email": "dana@example.org"}
    lines = [{"sub": f"acc-{n}", **both} for n in range(3)] + [{"sub": "acc-1", "refresh_token": "newer"}]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in lines))

    with path.open("rb") as opened:
        counts = import_lines(settings, opened, ConnectAccount, accept.connect_all, hidden(stderr=True))

    assert counts == (4, 0)
    with closing(bootstrap(settings)) as services:
        ledger = services.ledger
        account = ledger.account("acc-1")
        stored = ledger.open_credentials(account)
        assert stored
        assert stored.refresh_token == "newer"
        assert account.email == "dana@example.org"
        assert sorted(ledger.directory.with_email("dana@example.org", 9)) == ["acc-0", "acc-1", "acc-2"]
        assert ledger.counters()["outcome:account_connected"] == 3


def test_a_line_does_not_wait_for_the_next(settings: Settings) -> None:
    """Whoever writes to a pipe may take long between two lines."""
    reading, writing = os.pipe()
    counts: list[tuple[int, int]] = []

    def take() -> None:
        with os.fdopen(reading, "rb") as lines:
            counts.append(import_lines(settings, lines, TrackEvent, accept.track_all, hidden(stderr=True)))

    thread = Thread(target=take)
    thread.start()
    try:
        with closing(bootstrap(settings)) as services, os.fdopen(writing, "wb", buffering=0) as pipe:
            for n in range(3):
                key = EventKey("cal", f"event-{n}")
                pipe.write(line(key.event_id))
                wait_until(partial(services.ledger.find, "acc", key), what="the event")
    finally:
        thread.join()
    assert counts == [(3, 0)]


def test_what_could_not_be_stored_ends_the_import(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many lines are left."""
    path, taken = tmp_path / "lines", []
    path.write_bytes(b"".join(line(f"event-{n}") for n in range(10 * AT_ONCE)))

    def take(_: Services, events: Sequence[TrackEvent]) -> None:
        taken.append(len(events))
        raise RedisConnectionError("It is away.")

    with path.open("rb") as lines, pytest.raises(RedisConnectionError, match="It is away"):
        import_lines(settings, lines, TrackEvent, take, hidden(stderr=True))
    assert len(taken) == 1
    assert 1 <= taken[0] <= AT_ONCE
    capsys.readouterr()
