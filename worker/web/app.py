"""The ASGI application of `reconciler serve`: the webhook, the metrics, the probes, the board."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from config.settings import Settings, require_cronofy, require_vault
from worker.web.board.board import Board
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
    webhook, probes, metrics = Webhook(settings, publisher), Probes(settings), Metrics(settings)
    board = Board(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for part in (webhook, probes, metrics, board, publisher):
                part.close()

    return Starlette(
        routes=[*webhook.routes(), *probes.routes(), *metrics.routes(), *board.routes()],
        lifespan=lifespan,
    )
