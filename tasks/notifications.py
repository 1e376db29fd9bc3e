"""Push notifications, exactly as received (contract §1)."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks.internal import look_at_account
from tasks.payload import public
from worker.bootstrap import Services
from worker.intake import accept
from worker.intake.payloads import ReceiveNotification


@public("conferencing.receive_notification", ReceiveNotification)
def receive_notification(_: Task[..., Any], services: Services, notification: ReceiveNotification) -> bool:
    """Verify a notification and look at what it is about; false if it was refused."""
    due = accept.receive_notification(services, notification)
    for sub, wait in due or ():
        # A late or lost wake-up does no harm: the next sweep does the same.
        look_at_account.apply_async(kwargs={"sub": sub}, countdown=wait.total_seconds())
    return due is not None
