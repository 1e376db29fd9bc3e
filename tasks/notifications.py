"""Push notifications, exactly as received (contract §1)."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks.internal import look_at_account
from tasks.payload import INTAKE, handle
from worker.app import app
from worker.bootstrap import Services
from worker.intake import accept
from worker.intake.payloads import ReceiveNotification


@app.task(name="conferencing.receive_notification", **INTAKE)
def receive_notification(self: Task[..., Any], /, *args: Any, **kwargs: Any) -> bool:
    """Verify a notification and look at what it is about; false if it was refused."""

    def service(services: Services, notification: ReceiveNotification) -> bool:
        due = accept.receive_notification(services, notification)
        for sub, wait in due or ():
            # A late or lost wake-up does no harm: the next sweep does the same.
            look_at_account.apply_async(kwargs={"sub": sub}, countdown=wait.total_seconds())
        return due is not None

    return handle(self, ReceiveNotification, service, args, kwargs)
