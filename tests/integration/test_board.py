"""The board's application: who may read it, what keeps its pages private, and that it only reads."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from httpx import ASGITransport, AsyncClient, Response
from redis import Redis

from config.settings import Settings, load_settings
from tests.integration.ledgers import an_event, dump
from worker.ledger.figures import read_backlog
from worker.ledger.ledger import Ledger
from worker.ledger.packing import CAUSES
from worker.web.app import build_app
from worker.web.board.listing import LISTED

TOKEN = "a-token-of-the-board"
PATHS = [
    "/",
    "/events",
    "/events?told=escalated",
    "/board/live",
    "/board/search?q=sub",
    "/board/event?account=a&calendar=b&event=c",
    "/board/account?account=sub",
    "/accounts",
    "/mails",
    "/mails?state=gone",
    "/outcomes",
    "/dead-letters",
    "/workers",
]


@pytest.fixture
def settings(redis_url: str, prefix: str) -> Settings:
    """The settings of a board."""
    return load_settings(
        redis_url=redis_url,
        key_prefix=prefix,
        vault_keys=Fernet.generate_key().decode(),
        cronofy_client_id="client",
        cronofy_client_secret="secret",
        board_token=TOKEN,
    )


def ask(settings: Settings, path: str = "/", *, method: str = "GET", **options: Any) -> Response:
    """The application's answer to whoever has the token."""
    options.setdefault("headers", {"Authorization": f"Bearer {TOKEN}"})

    async def answer() -> Response:
        app = build_app(settings)
        transport = ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http,
        ):
            return await http.request(method, path, **options)

    return asyncio.run(answer())


def test_every_answer_has_strict_headers(settings: Settings) -> None:
    """Nothing inline, nothing remote, no frames, no type sniffing, no caching, no referrer."""
    answers = [ask(settings, path) for path in [*PATHS, "/board/static/none"]]

    for answer in [*answers, ask(settings, headers={})]:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] in ("no-referrer", "same-origin")
        assert answer.headers["Cache-Control"] == "no-store"
        assert " style=" not in answer.text
        assert "<script>" not in answer.text


def test_it_only_reads(settings: Settings, ledger: Ledger) -> None:
    """No page changes the ledger, and every page accepts only GET."""
    ledger.track("sub", an_event("e1"))
    before = dump(ledger)
    for path in PATHS:
        ask(settings, path)
        assert ask(settings, path, method="POST").status_code == 405

    assert dump(ledger) == before


def form_of(settings: Settings, ids: dict[str, str]) -> str:
    """What the form on an event's page says."""
    shown = ask(settings, "/board/event", params=ids).text
    [form] = re.findall('name="form" value="([0-9a-f]+)"', shown)
    return str(form)


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        pytest.param({"note": "on it", "until": "P3D"}, {}, 303, id="our own form"),
        pytest.param({"withdraw": "yes"}, {}, 303, id="taken back"),
        pytest.param({"form": "guessed"}, {}, 403, id="another form"),
        pytest.param({"form": ""}, {}, 403, id="no form"),
        pytest.param({}, {"Sec-Fetch-Site": "cross-site"}, 403, id="another site"),
        pytest.param({}, {"Authorization": "Bearer wrong"}, 401, id="nobody we know"),
        pytest.param({"until": "soon"}, {}, 400, id="what no task takes"),
    ],
)
def test_that_somebody_answers_for_an_event_goes_to_the_workers(
    settings: Settings, ledger: Ledger, data: dict[str, str], headers: dict[str, str], status: int
) -> None:
    """If it comes from our own page: the task on its queue, by the board."""
    ledger.track("sub", an_event("e1"))
    ids = {"account": "sub", "calendar": "cal", "event": "e1"}
    sent = {**ids, "form": form_of(settings, ids), **data}
    allowed = {"Authorization": f"Bearer {TOKEN}", **headers}

    answer = ask(settings, "/board/acknowledge", method="POST", data=sent, headers=allowed)

    assert answer.status_code == status
    queue = f"{settings.key_prefix}.intake"
    message = ledger.redis.rpop(queue)
    assert (message is not None) == (status == 303)
    if message:
        assert answer.headers["Location"].startswith("/board/event?account=sub&")
        args, kwargs, _ = json.loads(base64.b64decode(json.loads(cast("bytes", message))["body"]))
        given = {name: value for name, value in data.items() if name != "withdraw"}
        taken_back = {"withdraw": True} if "withdraw" in data else {}
        expected = {"sub": "sub", "calendar_id": "cal", "event_id": "e1", "by": "board"}
        assert (args, kwargs) == ([], {**expected, **given, **taken_back})


def test_a_list_leads_to_its_events_page_by_page(settings: Settings, ledger: Ledger) -> None:
    """Each row leads to the event, and each page to the next; what nobody understands is left out."""
    last = {"state": "pending", "cause": "profile_removed", "detail": {}}
    for number in range(LISTED + 1):
        ledger.track("sub", replace(an_event(f"e{number:03}"), last=last))

    first = ask(settings, "/events?cause=profile_removed&before=nonsense&after=nonsense&colour=red")
    [following] = re.findall('<a href="([^"]+)" rel="next">', first.text)
    second = ask(settings, html.unescape(following))

    assert "51 in all" in first.text
    assert first.text.count("/board/event?") == LISTED
    assert "before=" not in following
    assert re.findall("event=(e[0-9]+)", second.text) == ["e050"]
    assert 'rel="next"' not in second.text
    assert "None." in ask(settings, "/events?cause=profile_removed&told=escalated").text


def test_an_unreachable_ledger_is_reported(settings: Settings) -> None:
    """503, without the server's own message."""
    away = settings.model_copy(update={"redis_url": "redis://:secret@127.0.0.1:1/0"})

    answer = ask(away)

    assert answer.status_code == 503
    assert "Redis does not answer: start it, or correct RECONCILER_REDIS_URL." in answer.text
    assert "secret" not in answer.text


def test_damaged_records_do_no_harm(settings: Settings, ledger: Ledger) -> None:
    """A page that cannot be made says so and nothing more; a bad record is left out."""
    ledger.track("sub", an_event("sound"))
    ledger.track("sub", an_event("damaged"))
    damaged = an_event("damaged").key
    ledger.redis.hset(ledger.keys.events("sub"), cast("str", damaged.field), b"\x00" * 40)
    ledger.redis.xadd(ledger.keys.outcomes, {"outcome": "no outcome"})
    ids = {"account": "sub", "calendar": damaged.calendar_id, "event": "damaged"}

    answers = [ask(settings), ask(settings, "/board/event", params=ids)]
    found = ask(settings, "/board/search", params={"q": "sound"})

    assert [answer.status_code for answer in answers] == [500, 404]
    assert "event=sound" in found.headers["Location"]
    for answer in answers:
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "no outcome" not in answer.text


def test_a_search_by_event_leads_to_it_through_many_accounts(settings: Settings, ledger: Ledger) -> None:
    """However many accounts there are."""
    for number in range(300):
        ledger.track(f"sub-{number}", an_event(f"event-{number}"))

    answer = ask(settings, "/board/search", params={"q": "event-217"})

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
