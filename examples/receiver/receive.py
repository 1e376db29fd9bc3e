"""Take the reconciler's webhooks: outcomes (RECONCILER_OUTCOME_URL) and letters (RECONCILER_MAIL_URL).

    WEBHOOK_SECRET=whsec_… python receive.py [PORT]

Prints each message once, as JSON. Needs only Python: `pip install standardwebhooks` has the same check.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

#: One secret, or several while it is rotated.
SECRETS = [
    base64.b64decode(secret.strip().removeprefix("whsec_"))
    for secret in os.environ["WEBHOOK_SECRET"].split(",")
]
#: A message that was signed longer ago may be one that somebody recorded.
TOLERANCE_SECONDS = 300
#: The ids of what was taken: one may come twice, with the same id. Keep yours where it outlives a restart.
SEEN: set[str] = set()
LOCK = Lock()


def work_on(message_id: str, body: bytes) -> None:
    """Replace this: put it where it survives, and answer soon. If this raises, it comes again."""
    message = json.loads(body)
    kind = message["kind"] if "kind" in message else message["type"]
    print(json.dumps({"webhook-id": message_id, "what": kind, "message": message}), flush=True)


def is_signed(headers: dict[str, str], body: bytes) -> bool:
    """Whether one of the signatures is by one of our secrets, over just this message, and not long ago."""
    try:
        message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
            return False
        given = headers["webhook-signature"].split()
    except (KeyError, ValueError):
        return False
    content = f"{message_id}.{timestamp}.".encode() + body
    ours = ["v1," + base64.b64encode(hmac.digest(secret, content, "sha256")).decode() for secret in SECRETS]
    return any(hmac.compare_digest(one.encode(), other.encode()) for one in ours for other in given)


class Handler(BaseHTTPRequestHandler):
    """Answers 204 once a message is taken, and 401 if it is not signed."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take one message."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if is_signed(headers, body):
            with LOCK:
                if headers["webhook-id"] not in SEEN:
                    work_on(headers["webhook-id"], body)
                    SEEN.add(headers["webhook-id"])
            self._answer(204)
        else:
            self._answer(401)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the messages are what is printed."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8090), Handler)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
