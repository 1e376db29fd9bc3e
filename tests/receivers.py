"""Receivers of signed webhooks, and of whatever else is posted, over loopback."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
from standardwebhooks import Webhook, WebhookVerificationError

from tests.certificates import Certificate

#: Two secrets of the specification's form.
SECRET, OLD_SECRET = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (7, 9))


@dataclass
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: str
    #: What it was answered.
    status: int

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """What came to a receiver, in order."""

    url: str
    #: The status for each request, by its number.
    answer: Callable[[int], int]
    got: list[Got] = field(default_factory=list)
    #: The body of each answer.
    reply: str = ""
    #: Another receiver that gets all of it first.
    forward_to: str | None = None

    @property
    def taken(self) -> list[Any]:
        """The bodies that it said it took, in order, as often as it did."""
        return [each.json for each in self.got if each.status < 300]


@contextmanager
def receiving(
    answer: Callable[[int], int] = lambda _: 204,
    *,
    secret: str | None = SECRET,
    port: int = 0,
    forward_to: str | None = None,
    tls: Certificate | None = None,
) -> Iterator[Receiver]:
    """A receiver on a free port; with a `secret`, what is not signed by it is answered with 401."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
            status = receiver.answer(len(receiver.got))
            if secret is not None:
                try:
                    Webhook(secret).verify(body, dict(self.headers), json_parse=False)
                except WebhookVerificationError:
                    status = 401
            headers = {name.lower(): value for name, value in self.headers.items()}
            if receiver.forward_to:
                known = {got.headers["webhook-id"] for got in receiver.got}
                forwarded = httpx.post(receiver.forward_to, content=body, headers=headers)
                # The first answer about every other message is lost on its way back.
                lost = headers["webhook-id"] not in known and len(known) % 2 == 0
                status = 504 if lost else forwarded.status_code
            receiver.got.append(Got(self.path, headers, body, status))
            self.send_response(status)
            self.send_header("content-length", str(len(receiver.reply)))
            self.end_headers()
            self.wfile.write(receiver.reply.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.path, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if tls else "http"
    receiver = Receiver(f"{scheme}://127.0.0.1:{server.server_port}/hook", answer, forward_to=forward_to)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
