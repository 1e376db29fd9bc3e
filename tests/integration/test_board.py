"""The board's application: who may read it, what keeps its pages private, and that it only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from httpx import ASGITransport, AsyncClient, Response
from pydantic import SecretStr
from redis import Redis
from starlette.applications import Starlette
from starlette.types import ASGIApp

from config.settings import Settings, load_settings
from tests.integration.ledgers import an_event, dump
from worker.ledger.backlog import read_backlog
from worker.ledger.ledger import Ledger
from worker.ledger.packing import CAUSES
from worker.web.app import build_app

TOKEN = "a-token-of-the-board"
PATHS = ["/", "/board/live", "/board/search?q=sub", "/board/event?account=a&calendar=b&event=c"]


@pytest.fixture
def settings(redis_url: str, prefix: str) -> Settings:
    """The settings of a board without a token."""
    return load_settings(
        redis_url=redis_url,
        key_prefix=prefix,
        vault_keys=Fernet.generate_key().decode(),
        cronofy_client_id="client",
        cronofy_client_secret="secret",
    )


class Client:
    """Calls the application as a client at this address, using this host name."""

    def __init__(self, app: ASGIApp, peer: str, host: str) -> None:
        self._app, self._peer, self._url = app, peer, f"http://{host}"

    def get(self, path: str, **options: Any) -> Response:
        """The answer to a GET."""
        return self._ask("GET", path, options)

    def post(self, path: str) -> Response:
        """The answer to a POST."""
        return self._ask("POST", path, {})

    def _ask(self, method: str, path: str, options: dict[str, Any]) -> Response:
        async def ask() -> Response:
            transport = ASGITransport(self._app, client=(self._peer, 50000))
            async with AsyncClient(transport=transport, base_url=self._url) as http:
                return await http.request(method, path, **options)

        return asyncio.run(ask())


@contextmanager
def client(app: Starlette, peer: str, host: str = "127.0.0.1:8000") -> Iterator[Client]:
    """A client of an application, which is closed at the end."""

    async def close() -> None:
        async with app.router.lifespan_context(app):
            pass

    yield Client(app, peer, host)
    asyncio.run(close())


@pytest.mark.parametrize("path", PATHS)
def test_no_page_is_shown_without_access(settings: Settings, path: str) -> None:
    """Without a token from anyone remote, with one from everyone without it; a browser prompts for it."""
    guarded = settings.model_copy(update={"board_token": SecretStr(TOKEN)})
    with (
        client(build_app(settings), "203.0.113.9") as elsewhere,
        client(build_app(guarded), "::1") as without,
    ):
        refused = without.get(path)

        assert elsewhere.get(path).status_code == 403
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        assert without.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code != 401


def test_every_answer_has_strict_headers(settings: Settings) -> None:
    """Nothing inline, nothing remote, no frames, no type sniffing, no caching, no referrer."""
    with (
        client(build_app(settings), "127.0.0.1") as opened,
        client(build_app(settings), "203.0.113.9") as kept_out,
    ):
        answers = [opened.get(path) for path in [*PATHS, "/board/static/none"]] + [kept_out.get("/")]

    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert " style=" not in answer.text
        assert "<script>" not in answer.text


def test_it_only_reads(settings: Settings, ledger: Ledger) -> None:
    """No page changes the ledger, and every page accepts only GET."""
    ledger.track("sub", an_event("e1"))
    before = dump(ledger)
    with client(build_app(settings), "127.0.0.1") as opened:
        for path in PATHS:
            opened.get(path)
            assert opened.post(path).status_code == 405

    assert dump(ledger) == before


def test_an_unreachable_ledger_is_reported(settings: Settings) -> None:
    """503, without the server's own message."""
    away = settings.model_copy(update={"redis_url": "redis://:secret@127.0.0.1:1/0"})
    with client(build_app(away), "127.0.0.1") as opened:
        answer = opened.get("/")

    assert answer.status_code == 503
    assert "The ledger is unavailable" in answer.text
    assert "secret" not in answer.text


def test_damaged_records_do_no_harm(settings: Settings, ledger: Ledger) -> None:
    """A page that cannot be made says so and nothing more; a bad record is left out."""
    ledger.track("sub", an_event("sound"))
    ledger.track("sub", an_event("damaged"))
    damaged = an_event("damaged").key
    ledger.redis.hset(ledger.keys.events("sub"), cast("str", damaged.field), b"\x00" * 40)
    ledger.redis.xadd(ledger.keys.outcomes, {"outcome": "no outcome"})
    ids = {"account": "sub", "calendar": damaged.calendar_id, "event": "damaged"}
    with client(build_app(settings), "127.0.0.1") as opened:
        answers = [opened.get("/"), opened.get("/board/event", params=ids)]
        found = opened.get("/board/search", params={"q": "sub"})

    assert [answer.status_code for answer in answers] == [500, 404]
    assert "event=sound" in found.headers["Location"]
    for answer in answers:
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "no outcome" not in answer.text


def test_a_search_by_event_leads_to_it_through_many_accounts(settings: Settings, ledger: Ledger) -> None:
    """No index maps an event's id to its account: all are searched, within bounds."""
    for number in range(300):
        ledger.track(f"sub-{number}", an_event(f"event-{number}"))
    with client(build_app(settings), "127.0.0.1") as opened:
        answer = opened.get("/board/search", params={"q": "event-217"})

    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/board/event?account=sub-217&")


def test_sweeps_sample_the_backlog_by_every_cause(ledger: Ledger, redis: Redis) -> None:
    """One sample in five minutes, however often sweeps run, kept for a day."""
    for number, cause in enumerate(CAUSES):
        last = {"state": "pending", "cause": cause.value} if cause else None
        ledger.track("sub", replace(an_event(f"e{number}"), last=last))
    old = int((ledger.now() - timedelta(days=1, minutes=1)).timestamp() * 1000)
    redis.xadd(ledger.keys.backlog, {"pending": 7}, id=f"{old}-0")

    for _ in range(3):
        ledger.promote(10)

    [sample] = read_backlog(redis, ledger.keys)
    assert (sample.pending, sample.causes) == (len(CAUSES), dict.fromkeys(CAUSES, 1))
    assert 0 < redis.pttl(ledger.keys.sampled) <= 300_000
