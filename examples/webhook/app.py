"""A webhook of one's own that hands Cronofy's push notifications on to the reconciler.

    flask --app app run --port 8000

`reconciler serve` brings such a webhook ready made. This is for services that receive notifications
anyway, and pass on those that speak of conferencing.
"""

from __future__ import annotations

import os

from celery import Celery
from flask import Flask, Response, request
from kombu.exceptions import OperationalError

BROKER_URL = os.environ.get("BROKER_URL", "redis://localhost:6379/0")

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 32 * 1024
reconciler = Celery(broker=BROKER_URL)


@app.post("/cronofy")
def receive() -> Response:
    """Hand on the raw body with its signature: the reconciler verifies it."""
    try:
        reconciler.send_task(
            "conferencing.receive_notification",
            kwargs={
                # As it came: the signature is over these very bytes.
                "body": request.get_data(as_text=True),
                "signature": request.headers.get("Cronofy-HMAC-SHA256", ""),
            },
            queue="reconciler.intake",
            ignore_result=True,
            # Cronofy waits for few seconds: better say at once that it is to try again.
            retry=False,
        )
    except OperationalError:
        return Response(status=503, headers={"Retry-After": "30"})
    return Response(status=204)
