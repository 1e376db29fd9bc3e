"""The board at `/`: the state of the fleet, and why an event has no link, in a browser.

It only reads the ledger. That somebody answers for an event it hands to a worker, as any caller would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.resources import files
from typing import Any

import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from config.queues import Queues
from config.settings import Settings
from worker.explain.explanation import not_tracked, recorded_case
from worker.intake.payloads import AcknowledgeEvent, BadPayload, parse
from worker.ledger.connection import connect_once
from worker.ledger.ledger import Ledger
from worker.ledger.opening import keyless_ledger
from worker.ledger.records import EventKey
from worker.outage import BrokerAway
from worker.web.access import Access
from worker.web.board.events import read_events
from worker.web.board.overview import read_overview
from worker.web.board.page import event_url, page
from worker.web.board.search import search
from worker.web.board.sign_in import fields_of, is_foreign, not_signed_in
from worker.web.publisher import Publisher

TASK = "conferencing.acknowledge"
#: Who acknowledges here: all share one token.
BOARD = "board"
#: The time for each step of Redis in a page.
PATIENCE = timedelta(seconds=3)
STATIC = {
    "board.css": "text/css; charset=utf-8",
    "board.js": "text/javascript; charset=utf-8",
    "sign-in.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

log = structlog.get_logger()


class Board:
    """Answers browsers."""

    def __init__(self, settings: Settings, access: Access, publisher: Publisher) -> None:
        self._settings = settings
        self._access = access
        self._publisher = publisher
        self._queue = Queues.of(settings.key_prefix).intake
        self._redis = connect_once(settings.ledger_url, PATIENCE)
        self._ledger = keyless_ledger(self._redis, settings)
        # Few threads, so that many browsers queue up instead of burdening the ledger.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="board")
        folder = files("worker.web.board") / "static"
        self._static = {name: (folder / name).read_bytes() for name in STATIC}

    def routes(self) -> list[Route]:
        """The pages and their static files."""
        return [
            Route("/", self.overview),
            Route("/events", self.events, methods=["GET"]),
            Route("/board/live", self.live),
            Route("/board/search", self.found),
            Route("/board/event", self.event),
            Route("/board/acknowledge", self.acknowledge, methods=["POST"]),
            Route("/board/static/{name}", self.static),
        ]

    def close(self) -> None:
        """End the threads and close the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._redis.close()

    async def overview(self, request: Request) -> Response:
        """The first page."""
        return await self._answer(
            request, lambda ledger: page("overview.html", board=read_overview(ledger, self._settings))
        )

    async def live(self, request: Request) -> Response:
        """The changing part of the first page, for its refresh script."""
        return await self._answer(
            request, lambda ledger: page("live.html", board=read_overview(ledger, self._settings))
        )

    async def found(self, request: Request) -> Response:
        """The search results, or a redirect if there is only one."""
        text = request.query_params.get("q", "")

        def find(ledger: Ledger) -> Response:
            found = search(ledger, text)
            if len(found.hits) == 1 and not found.partly:
                hit = found.hits[0]
                return RedirectResponse(event_url(hit.sub, hit.calendar_id, hit.event_id), 303)
            return page("found.html", found=found, q=text)

        return await self._answer(request, find)

    async def events(self, request: Request) -> Response:
        """Pending events that have something in common, a page at a time."""
        return await self._answer(
            request, lambda ledger: page("events.html", found=read_events(ledger, request.query_params))
        )

    async def event(self, request: Request) -> Response:
        """Why one event has no link, as in `explain --offline`."""
        sub, calendar_id, event_id = (
            request.query_params.get(name, "") for name in ("account", "calendar", "event")
        )

        def show(ledger: Ledger) -> Response:
            key = EventKey(calendar_id, event_id)
            case = recorded_case(ledger, self._settings, sub, key)
            if case is None:
                ids = sub, calendar_id, event_id
                return page("untracked.html", 404, ids=ids, found=not_tracked(ledger, sub, key))
            sent = "sent" in request.query_params
            return page("event.html", case=case, sent=sent, form=self._access.form(request))

        return await self._answer(request, show)

    async def acknowledge(self, request: Request) -> Response:
        """Somebody answers for an event, or takes that back: on to its page once the broker has the task."""
        refused = self._access.board(request)
        if refused is not None:
            return not_signed_in(refused, request)
        given = fields_of(await request.body())
        if is_foreign(request) or not self._access.is_own_form(request, given.get("form", "")):
            text = "Another site sent you here, or you signed in again since. Try again on the event's page."
            return page("trouble.html", 403, title="Not done", text=text)
        ids = given.get("account", ""), given.get("calendar", ""), given.get("event", "")
        kwargs: dict[str, Any] = dict(zip(("sub", "calendar_id", "event_id"), ids, strict=True), by=BOARD)
        if "withdraw" in given:
            kwargs["withdraw"] = True
        else:
            kwargs |= {name: given[name] for name in ("note", "until") if given.get(name)}
        try:
            parse(AcknowledgeEvent, (), kwargs)
            await self._publisher.publish(TASK, kwargs, self._queue)
        except BadPayload as bad:
            return page("trouble.html", 400, title="Not done", text=str(bad))
        except BrokerAway as away:
            log.warning("board.put_off", reason=str(away))
            text = "The broker is unavailable, so no worker heard of it. Try again."
            return page("trouble.html", 503, title="Not done", text=text)
        return RedirectResponse(event_url(*ids) + "&sent=", 303)

    async def static(self, request: Request) -> Response:
        """The style sheet, script and icon: public, since they reveal nothing."""
        name = request.path_params["name"]
        if name not in self._static:
            return page("trouble.html", 404, title="Not found", text="There is nothing here.")
        kept = {"Cache-Control": "no-cache"}
        return Response(self._static[name], media_type=STATIC[name], headers=kept)

    async def _answer(self, request: Request, show: Callable[[Ledger], Response]) -> Response:
        """The page from `show`, for whoever may read it; 503 if the ledger is down, 500 if `show` fails."""
        refused = self._access.board(request)
        if refused is not None:
            return not_signed_in(refused, request)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, show, self._ledger)
        except RedisError as error:
            log.warning("board.unreadable", reason=type(error).__name__)
            text = "The ledger is unavailable. Try again, or run reconciler doctor to find out why."
            return page("trouble.html", 503, title="No answer", text=text)
        except Exception:
            # A damaged record, for example; only the log says which.
            log.exception("board.failed")
            text = "This page could not be rendered. The log says why."
            return page("trouble.html", 500, title="No answer", text=text)
