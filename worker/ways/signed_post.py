"""A POST signed by the Standard Webhooks specification, to an address that the operator chose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook

from worker.cronofy.way_out import http_client

#: How long to wait for an answer, and for a connection.
ANSWER_SECONDS, CONNECT_SECONDS = 10.0, 5.0
#: An answer says nothing but its status. One this small is read, so that the connection can be used again.
SMALL = 4096


class NotTaken(Exception):
    """The receiver did not take it, or may not have; the message names no address and quotes no answer."""


class SignedPost:
    """Posts JSON to one address. One per process, made after the fork; safe to share between threads."""

    def __init__(self, url: str, secrets: Sequence[str]) -> None:
        """`secrets`: all of them sign, so that a receiver that has any one takes it.

        SettingsError names a variable of the environment's proxies or certificates that cannot be used.
        """
        self._url = url
        self._signers = [Webhook(secret) for secret in secrets]
        self._http = http_client(
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": "conferencing-reconciler", "Content-Type": "application/json"},
            follow_redirects=False,
        )

    def send(self, message_id: str, body: str) -> None:
        """Post `body`; NotTaken unless the answer is 2xx. The same message has the same id each time."""
        now = datetime.now(UTC)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(message_id, now, body) for signer in self._signers),
        }
        try:
            with self._http.stream("POST", self._url, content=body.encode(), headers=headers) as answer:
                length = answer.headers.get("content-length", "")
                if length.isdigit() and int(length) <= SMALL:
                    answer.read()
                status = answer.status_code
        except httpx.TimeoutException:
            raise NotTaken("the receiver did not answer in time") from None
        except httpx.HTTPError as error:
            raise NotTaken(f"the receiver could not be reached ({type(error).__name__})") from None
        if not 200 <= status < 300:
            raise NotTaken(f"the receiver answered {status}")

    def close(self) -> None:
        self._http.close()
