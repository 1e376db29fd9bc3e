"""The ASGI application of `reconciler serve`: webhook, metrics, probes, board, and where users connect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from config.settings import Settings, require_cronofy, require_vault
from worker.web.access import Access
from worker.web.board.board import Board
from worker.web.board.deciding import Deciding
from worker.web.board.sign_in import SignIn
from worker.web.connecting.connecting import ConnectPages
from worker.web.crowd import Crowd
from worker.web.headers import HEADERS, Headers
from worker.web.metrics import Metrics
from worker.web.probes import Probes
from worker.web.publisher import Publisher
from worker.web.webhook import Webhook


def build_app(settings: Settings) -> Starlette:
    """The application for these settings; SettingsError if a required one is missing.

    It connects to nothing before the first request, so it starts even while the ledger or broker is away.
    """
    require_cronofy(settings)
    require_vault(settings)
    publisher = Publisher(settings)
    access = Access(settings)
    webhook, probes, metrics = Webhook(settings, publisher), Probes(settings), Metrics(settings, access)
    deciding = Deciding(settings, publisher)
    board, connecting = Board(settings, access, publisher), ConnectPages(settings, publisher)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for part in (webhook, probes, metrics, board, connecting, deciding, publisher):
                part.close()

    app = Starlette(
        routes=[
            route
            for part in (webhook, probes, metrics, board, SignIn(access), connecting, deciding)
            for route in part.routes()
        ],
        middleware=[Middleware(Headers), Middleware(Crowd)],
        exception_handlers={Exception: _failed},
        lifespan=lifespan,
    )
    # Such a redirect would lead to whatever host the request names.
    app.router.redirect_slashes = False
    return app


async def _failed(_: Request, __: Exception) -> Response:
    """The answer to a request on which we failed; it is made outside of all middleware."""
    return PlainTextResponse("Internal Server Error\n", 500, HEADERS)
