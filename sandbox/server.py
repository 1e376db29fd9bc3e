"""Runs the sandbox, as a blocking command or in a thread for tests."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncIterator
from typing import Self, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from sandbox.control import admin
from sandbox.control.control import Control
from sandbox.cronofy.api import Api
from sandbox.cronofy.gate import Gate
from sandbox.cronofy.oauth import OAuth
from sandbox.cronofy.pages import Pages
from sandbox.options import SandboxOptions
from sandbox.state import Sandbox
from sandbox.world.errors import Invalid
from sandbox.world.registry import Unknown


def build_app(sandbox: Sandbox, smtp_listener: socket.socket | None = None) -> ASGIApp:
    """Return the ASGI application.

    Its lifespan advances the world and serves SMTP on the bound socket; without a lifespan, as in a test that
    calls it directly, the test advances the world.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if smtp_listener:
            await sandbox.mailbox.start(smtp_listener)
        life = asyncio.create_task(sandbox.live())
        try:
            yield
        finally:
            life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await life
            await sandbox.courier.close()
            await sandbox.mailbox.stop()

    inner = Starlette(
        routes=[
            *Api(sandbox).routes(),
            *OAuth(sandbox).routes(),
            *Pages(sandbox).routes(),
            *admin.routes(sandbox),
        ],
        exception_handlers={Unknown: _not_found, Invalid: _unprocessable},
        lifespan=lifespan,
    )
    # Outermost, so that a fault can break the connection itself.
    return Gate(inner, sandbox)


async def _not_found(_request: Request, _unknown: Exception) -> Response:
    return PlainTextResponse("Not found", status_code=404)


async def _unprocessable(_request: Request, invalid: Exception) -> Response:
    return JSONResponse({"errors": cast(Invalid, invalid).errors}, status_code=422)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Name the protocol: otherwise asyncio leaves Nagle's algorithm on (40 ms per answer).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _origin(scheme: str, host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{listener.getsockname()[1]}"


class RunningSandbox:
    """A sandbox with its mailbox, on free ports unless given; in a thread for tests.

    with RunningSandbox(SandboxOptions(page_size=2)) as sandbox:
        account = sandbox.control.create_account()
    """

    def __init__(
        self,
        options: SandboxOptions | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        smtp_port: int = 0,
    ) -> None:
        """Bind both ports, or raise OSError; nothing answers before it is entered, or `serve`."""
        self._http = _listen(host, port)
        try:
            self._smtp = _listen(host, smtp_port)
        except OSError:
            self._http.close()
            raise
        #: The origin of the API, the control plane and the pages, without a trailing slash.
        self.url = _origin("http", host, self._http)
        #: `smtp://host:port` of the mailbox.
        self.smtp_url = _origin("smtp", host, self._smtp)
        self.control = Control(self.url)
        sandbox = Sandbox(options or SandboxOptions(), self.url)
        self._server = uvicorn.Server(
            uvicorn.Config(
                build_app(sandbox, self._smtp),
                log_level="critical",
                access_log=False,
                ws="none",
                server_header=False,
                # A deliberately hanging request must not delay the shutdown.
                timeout_graceful_shutdown=1,
                # Longer than clients keep idle connections: a request must not arrive on one that is closing.
                timeout_keep_alive=75,
            )
        )
        self._thread = threading.Thread(target=self.serve, name="sandbox", daemon=True)

    def serve(self) -> None:
        """Block until stopped."""
        with self._http, self._smtp:
            self._server.run(sockets=[self._http])

    def __enter__(self) -> Self:
        """Serve in a thread, and return once the sandbox answers."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the sandbox did not start")
            self._thread.join(0.005)
        return self

    def stop(self) -> None:
        """Stop serving; returns once the thread has ended and every socket is closed."""
        self.control.close()
        self._server.should_exit = True
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.stop()


def run(host: str, port: int, smtp_port: int, options: SandboxOptions) -> None:
    """Serve the sandbox until SIGINT or SIGTERM; raises OSError when a port is taken."""
    sandbox = RunningSandbox(options, host=host, port=port, smtp_port=smtp_port)
    print(f"Cronofy sandbox  {sandbox.url}")
    print(f"Mailbox          {sandbox.url}/mail, {sandbox.smtp_url}", flush=True)
    # uvicorn raises the signal that ended it again, once all is closed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        sandbox.serve()
