"""The board at `/`: the state of the fleet, and why an event has no link, in a browser. It only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.resources import files

import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from config.settings import Settings
from worker.bootstrap import keyless_ledger
from worker.explain.explanation import recorded_case
from worker.explain.suggestions import nearest
from worker.ledger.connection import connect_once
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey
from worker.web.access import Access
from worker.web.board.overview import read_overview
from worker.web.board.page import event_url, page
from worker.web.board.search import search
from worker.web.board.sign_in import not_signed_in

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

    def __init__(self, settings: Settings, access: Access) -> None:
        self._settings = settings
        self._access = access
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
            Route("/board/live", self.live),
            Route("/board/search", self.found),
            Route("/board/event", self.event),
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

    async def event(self, request: Request) -> Response:
        """Why one event has no link, as in `explain --offline`."""
        sub, calendar_id, event_id = (
            request.query_params.get(name, "") for name in ("account", "calendar", "event")
        )

        def show(ledger: Ledger) -> Response:
            key = EventKey(calendar_id, event_id)
            case = recorded_case(ledger, self._settings, sub, key)
            if case is None:
                return page(
                    "untracked.html", 404, ids=(sub, calendar_id, event_id), near=nearest(ledger, sub, key)
                )
            return page("event.html", case=case)

        return await self._answer(request, show)

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
