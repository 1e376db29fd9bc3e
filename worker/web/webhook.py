"""`POST /webhooks/cronofy`: receives Cronofy's notifications for the workers (reference §6c).

A 2xx means that the broker has the notification. After any other answer Cronofy keeps sending it for a day,
so we acknowledge nothing that is not on its queue.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta

import structlog
from redis.exceptions import RedisError
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from config.settings import Settings
from worker.cronofy.callbacks import PATH, read_callback_key
from worker.cronofy.signature import is_signed
from worker.intake.payloads import BadPayload, ReceiveNotification, parse
from worker.ledger.connection import BrokerAway, connect_once
from worker.ledger.keys import Keys
from worker.ledger.opening import vault_of
from worker.ledger.tallies import add
from worker.web.crowd import RETRY_AFTER
from worker.web.publisher import Publisher

HEADER = "Cronofy-HMAC-SHA256"
TASK = "conferencing.receive_notification"
#: Longer than several signatures; the body's limit does not cover headers.
LONGEST_SIGNATURE = 1024
#: The time for each step of a count.
PATIENCE = timedelta(seconds=1)

log = structlog.get_logger()


class Webhook:
    """The receiver of notifications."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._secrets = [secret.get_secret_value() for secret in settings.cronofy_client_secret]
        self._vault = vault_of(settings)
        self._publisher = publisher
        self._redis = connect_once(settings.ledger_url, PATIENCE)
        self._keys = Keys(settings.key_prefix)

    def routes(self) -> list[Route]:
        """One route without a key, and one with a key that names what the callback is about."""
        return [Route(path, self.receive, methods=["POST"]) for path in (PATH, PATH + "/{key}")]

    def close(self) -> None:
        self._redis.close()

    async def receive(self, request: Request) -> Response:
        """Read, verify and publish, in this order, without parsing the body."""
        body = await request.body()
        signature = request.headers.get(HEADER, "")
        if len(signature) > LONGEST_SIGNATURE or not is_signed(body, signature, self._secrets):
            log.warning("notification.refused", reason="bad_signature")
            text = f"The {HEADER} header does not match the body."
            return _answer(401, text, background=BackgroundTask(self._count_forged))
        try:
            text = body.decode()
        except UnicodeDecodeError:
            log.warning("notification.refused", reason="not_utf8")
            return _answer(400, "The body is not UTF-8.")
        kwargs = {"body": text, "signature": signature, **self._ids(request.path_params.get("key"))}
        try:
            # The whole message, so that nothing we acknowledge ends as a dead letter.
            parse(ReceiveNotification, (), kwargs)
        except BadPayload as bad:
            log.warning("notification.refused", reason="too_large")
            return _answer(413, str(bad))
        try:
            await self._publisher.publish(TASK, kwargs)
        except BrokerAway as away:
            log.warning("notification.put_off", reason=str(away))
            return _answer(503, "Try again later.", headers=RETRY_AFTER)
        return Response(status_code=204)

    def _count_forged(self) -> None:
        """Only this process sees it, so it counts; lost if the ledger is down."""
        with suppress(RedisError):
            add(self._redis, self._keys, {"notifications:bad_signature": 1})

    def _ids(self, key: str | None) -> dict[str, str]:
        """The ids that the URL's key names.

        The signature authenticates a notification, so it is accepted, for what its body says, even if no
        vault key opens its URL's key any more.
        """
        if key is None:
            return {}
        callee = read_callback_key(self._vault, key)
        if callee is None:
            log.info("notification.unnamed", reason="unreadable_key")
            return {}
        return {name: value for name, value in asdict(callee).items() if value is not None}


def _answer(
    status: int, text: str, headers: dict[str, str] | None = None, background: BackgroundTask | None = None
) -> Response:
    return PlainTextResponse(text + "\n", status_code=status, headers=headers, background=background)
