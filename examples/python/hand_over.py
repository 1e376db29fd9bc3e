"""Hand an account and an event over to the reconciler, and ask about the event.

    CRONOFY_REFRESH_TOKEN=… python hand_over.py SUB CALENDAR_ID < event.json

Needs only `celery[redis]` and the broker's URL.
"""

from __future__ import annotations

import json
import os
import sys

from celery import Celery

BROKER_URL = os.environ.get("BROKER_URL", "redis://localhost:6379/0")

# Results are in the ledger's Redis, which is also the broker here.
reconciler = Celery(broker=BROKER_URL, backend=BROKER_URL, set_as_current=False)


def hand_over(sub: str, calendar_id: str, event: dict[str, object]) -> object:
    """Connect the account, have the event watched, and return its diagnosis."""
    reconciler.send_task(
        "conferencing.connect_account",
        kwargs={"sub": sub, "refresh_token": os.environ["CRONOFY_REFRESH_TOKEN"]},
        queue="reconciler.intake",
    ).get(timeout=30)
    # Returns once the ledger has the event; from then on it is watched.
    reconciler.send_task(
        "conferencing.track",
        kwargs={"sub": sub, "calendar_id": calendar_id, "event": event},
        queue="reconciler.intake",
    ).get(timeout=30)
    question = reconciler.send_task(
        "conferencing.explain",
        kwargs={"sub": sub, "calendar_id": calendar_id, "event_id": event["event_id"]},
        queue="reconciler.urgent",
    )
    return question.get(timeout=60)


if __name__ == "__main__":
    diagnosis = hand_over(sys.argv[1], sys.argv[2], json.load(sys.stdin))
    print(json.dumps(diagnosis, indent=2))
