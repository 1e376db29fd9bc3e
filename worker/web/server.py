"""Runs the application on uvicorn."""

from __future__ import annotations

import signal
import socket

import structlog
import uvicorn
from starlette.types import ASGIApp

from config.logging import configure_logging
from config.settings import Settings, SettingsError
from worker.web.access import is_loopback
from worker.web.app import build_app

#: More concurrent requests get an immediate 503: Cronofy sends a notification again, and an answer after more
#: than a second is useless.
MOST_AT_A_TIME = 256
#: Longer than proxies usually keep an idle connection, so that none uses one that is closing.
KEEP_ALIVE_SECONDS = 75
#: For requests under way at SIGTERM; an answer takes a second or two at most.
GRACE_SECONDS = 5

log = structlog.get_logger()


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; SettingsError if the address cannot be used."""
    configure_logging(settings)
    app = build_app(settings)
    with listener(host, port) as bound:
        log.info("serve.ready", host=host, port=bound.getsockname()[1])
        if settings.board_token is None and not is_loopback(host):
            log.warning(
                "serve.unread", reason="RECONCILER_BOARD_TOKEN is not set: only this machine may read"
            )
        # After its shutdown, uvicorn raises the signal again, which must then not kill us before we log.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        server(app).run(sockets=[bound])
    log.info("serve.ended")


def server(app: ASGIApp) -> uvicorn.Server:
    """A server for the application, not bound to an address yet."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            # Log through our own logging, but not every request.
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            # Do not trust what a client says about its origin.
            proxy_headers=False,
            ws="none",
            lifespan="on",
            limit_concurrency=MOST_AT_A_TIME,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def listener(host: str, port: int) -> socket.socket:
    """A socket bound to the address; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is explicit, since otherwise asyncio leaves Nagle's algorithm on.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise SettingsError(f"Cannot listen on {host}, port {port}: {error.strerror}.") from None
    return bound
