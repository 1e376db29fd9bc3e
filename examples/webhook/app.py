"""Your own webhook that passes Cronofy's push notifications on to the reconciler.

    flask --app app run --port 8000

`reconciler serve` includes such a webhook. This is for services that receive notifications anyway and pass
on those about conferencing.
"""

from __future__ import annotations

import os

from celery import Celery
from flask import Flask, Response, request
from kombu.exceptions import OperationalError

BROKER_URL = os.environ.get("BROKER_URL", "redis://localhost:6379/0")

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 32 * 1024
reconciler = Celery(broker=BROKER_URL, set_as_current=False)


@app.post("/cronofy")
def receive() -> Response:
    """Pass on the raw body with its signature, which the reconciler verifies."""
    try:
        reconciler.send_task(
            "conferencing.receive_notification",
            kwargs={
                # Unchanged: the signature covers exactly these bytes.
                "body": request.get_data(as_text=True),
                "signature": request.headers.get("Cronofy-HMAC-SHA256", ""),
            },
            queue="reconciler.intake",
            ignore_result=True,
            # Cronofy waits only a few seconds, so tell it at once to try again.
            retry=False,
        )
    except OperationalError:
        return Response(status=503, headers={"Retry-After": "30"})
    return Response(status=204)
