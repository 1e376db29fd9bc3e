"""A TCP proxy that can hold up what passes it: a Redis that is far away, or busy."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.ports import free_port


@dataclass
class Slowly:
    """Where it listens, and how long each piece of an answer takes, in seconds."""

    port: int
    delay: float = 0.0


@contextmanager
def slowly(port: int) -> Iterator[Slowly]:
    """Listen on a free port, and pass everything on to this one, as long as the block runs."""
    way = Slowly(free_port())

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # Whoever listens there no longer does: the connection just ends.
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as there:
                there.settimeout(None)
                forth = threading.Thread(target=_pump, args=(self.request, there, None), daemon=True)
                forth.start()
                _pump(there, self.request, way)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", way.port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield way
        finally:
            server.shutdown()
            thread.join(5)


def _pump(source: socket.socket, target: socket.socket, way: Slowly | None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if way and way.delay:
                time.sleep(way.delay)
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
