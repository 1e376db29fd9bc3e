"""`POST /webhooks/cronofy`: takes Cronofy's notifications for the workers (reference §6c).

A 2xx says that the broker has the notification. Any other answer makes Cronofy send it again, for a day, so
nothing is acknowledged that is not on its queue.
"""

from __future__ import annotations

import structlog
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from config.celery import INTAKE
from config.settings import Settings
from worker.cronofy.callbacks import PATH, read_callback_key
from worker.cronofy.signature import is_signed
from worker.intake.payloads import LARGEST_PAYLOAD, BadPayload, ReceiveNotification, parse
from worker.ledger.vault import Vault
from worker.outage import BrokerAway
from worker.web.counting import Counting
from worker.web.publisher import Publisher

HEADER = "Cronofy-HMAC-SHA256"
TASK = "conferencing.receive_notification"
#: Nothing is read beyond this. The whole message is then checked against what the task takes, so nothing is
#: acknowledged that would end as a dead letter.
LARGEST_BODY = LARGEST_PAYLOAD
#: Longer than several signatures; the body's limit does not cover headers.
LONGEST_SIGNATURE = 1024
#: Cronofy is not known to follow it; a proxy or a person may.
RETRY_AFTER_SECONDS = "5"

log = structlog.get_logger()


class _TooLarge(Exception):
    """The body is longer than any notification is."""


class Webhook:
    """The receiver of notifications."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._secrets = [secret.get_secret_value() for secret in settings.cronofy_client_secret]
        self._vault = Vault([key.get_secret_value() for key in settings.vault_keys])
        self._publisher = publisher
        self._counting = Counting(settings)

    def routes(self) -> list[Route]:
        """Without a key, and with one that names whom the callback is about."""
        return [Route(path, self.receive, methods=["POST"]) for path in (PATH, PATH + "/{key}")]

    def close(self) -> None:
        """Close the connections."""
        self._counting.close()

    async def receive(self, request: Request) -> Response:
        """Read, verify, hand over; in this order, and nothing of the body is parsed."""
        try:
            body = await _body(request)
        except _TooLarge:
            return _said(413, f"At most {LARGEST_BODY} bytes are taken.")
        except ClientDisconnect:
            return _said(400, "The body did not arrive.")
        signature = request.headers.get(HEADER, "")
        if len(signature) > LONGEST_SIGNATURE or not is_signed(body, signature, self._secrets):
            log.warning("notification.refused", reason="bad_signature")
            counted = BackgroundTask(self._counting.count, "notifications:bad_signature")
            return _said(401, f"The {HEADER} header does not fit the body.", background=counted)
        try:
            text = body.decode()
        except UnicodeDecodeError:
            log.warning("notification.refused", reason="not_utf8")
            return _said(400, "The body is not UTF-8.")
        kwargs = {"body": text, "signature": signature, **self._ids(request.path_params.get("key"))}
        try:
            parse(ReceiveNotification, (), kwargs)
        except BadPayload as bad:
            log.warning("notification.refused", reason="too_large")
            return _said(413, str(bad))
        try:
            await self._publisher.publish(TASK, kwargs, INTAKE)
        except BrokerAway as away:
            log.warning("notification.put_off", reason=str(away))
            return _said(503, "It cannot be taken now.", headers={"Retry-After": RETRY_AFTER_SECONDS})
        return Response(status_code=204)

    def _ids(self, key: str | None) -> dict[str, str]:
        """The ids that the address's key names.

        The signature is what authenticates: under a key that no vault key opens any more, a notification
        is still taken, for what its body says.
        """
        callee = read_callback_key(self._vault, key) if key else None
        if key and callee is None:
            log.info("notification.unnamed", reason="unreadable_key")
        if callee is None:
            return {}
        named = {"sub": callee.sub, "calendar_id": callee.calendar_id, "event_id": callee.event_id}
        return {name: value for name, value in named.items() if value is not None}


async def _body(request: Request) -> bytes:
    """The raw body; never more of it in memory than is taken."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        raise _TooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise _TooLarge
    return bytes(body)


def _said(
    status: int, text: str, headers: dict[str, str] | None = None, background: BackgroundTask | None = None
) -> Response:
    return PlainTextResponse(text + "\n", status_code=status, headers=headers, background=background)
