"""Runs the application on uvicorn."""

from __future__ import annotations

import resource
import signal
import socket
import sys

import structlog
import uvicorn
from starlette.types import ASGIApp

from config.logging import configure_logging
from config.settings import Settings, SettingsError
from worker.web.app import build_app
from worker.web.board.sign_in import PATH as SIGN_IN
from worker.web.board_token import file_of, with_board_token
from worker.web.connection import Connection

#: Longer than proxies usually keep an idle connection, so that none uses one that is closing.
KEEP_ALIVE_SECONDS = 75
LONGEST_HEAD = 32 * 1024
#: For requests under way at SIGTERM; an answer takes a second or two at most.
GRACE_SECONDS = 5
#: Room for connections that come in all at once, before the oldest of them go.
OPEN_FILES = 8192

log = structlog.get_logger()


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; SettingsError if the address cannot be used."""
    given, unread = settings, ""
    try:
        settings = with_board_token(settings)
    except SettingsError as error:
        unread = str(error)
    # After the token is known, so that no line can hold it.
    configure_logging(settings)
    app = build_app(settings)
    with listener(host, port) as bound:
        port = bound.getsockname()[1]
        log.info("serve.ready", host=host, port=port)
        if unread:
            log.warning("serve.unread", reason=f"Nobody can read the board: no token is set. {unread}")
        elif given.board_token is None:
            _show_link(settings, host, port)
        # After its shutdown, uvicorn raises the signal again, which must then not kill us before we log.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        allow_open_files()
        server(app).run(sockets=[bound])
    log.info("serve.ended")


def _show_link(settings: Settings, host: str, port: int) -> None:
    """Show a person at a terminal the link that signs in; what is not a terminal may be kept for years."""
    if sys.stdout.isatty() and settings.board_token is not None:
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - we only read it
        here = f"[{here}]" if ":" in here else here
        token = settings.board_token.get_secret_value()
        print(f"\n  The board: http://{here}:{port}{SIGN_IN}#{token}\n", flush=True)
    else:
        log.info("serve.token_kept", file=str(file_of(settings.data_dir).absolute()))


def allow_open_files() -> None:
    """Take as many open files as we may have: many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def server(app: ASGIApp) -> uvicorn.Server:
    """A server for the application, not bound to an address yet."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            # Log through our own logging, but not every request.
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            # Do not trust what a client says about its origin.
            proxy_headers=False,
            ws="none",
            # For a head: each may take as much memory. The longest address has three ids.
            h11_max_incomplete_event_size=LONGEST_HEAD,
            lifespan="on",
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
