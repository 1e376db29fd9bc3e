"""Internal tasks: the sweep, the looks it wakes, and sending. Their messages are only wake-ups."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from celery import Task
from kombu import Exchange, Queue

from tasks.payload import bound_to
from worker.app import app, services
from worker.ledger.leases import LONGEST_WAKE
from worker.ledger.posts import any_due
from worker.run import connections, looks
from worker.run import delivery as outgoing
from worker.run.reporting import is_report_due, write_report
from worker.run.telling import tell_incidents


@app.task(name="conferencing.sweep", bind=True)
def sweep(self: Task[..., Any]) -> None:
    """Make ready what is due, and wake the batches to look at it."""
    with bound_to(self):
        batches = looks.sweep(services())
        every = max(services().settings.sweep_every, timedelta(seconds=1))
        # A wake-up that nobody took before the next sweep is useless.
        headers = services().ledger.wakeups.valid_for(every) if batches else {}
        for _ in range(batches):
            look_at_ready.apply_async(headers=headers)
        wake_outgoing()


@app.task(name="conferencing.look_at_ready", bind=True)
def look_at_ready(self: Task[..., Any]) -> None:
    """Look at ready accounts, soonest meeting first."""
    with bound_to(self):
        if services().ledger.wakeups.is_late(self.request.headers or {}):
            return
        result = looks.look_at_ready(services(), looks.BATCH_SIZE)
        if result.looked_at:
            wake_outgoing()
        for sub in result.alone:
            look_at_account.delay(sub=sub)
        rest, wakeups = result.resume_after, services().ledger.wakeups
        if rest and rest < services().settings.sweep_every:
            # Nothing depends on it: the next sweep would do the same, only later.
            rest = min(rest, LONGEST_WAKE)
            if wakeups.take_resumption(rest):
                headers = wakeups.valid_for(rest + LONGEST_WAKE)
                look_at_ready.apply_async(countdown=rest.total_seconds(), headers=headers)


@app.task(name="conferencing.look_at_account", bind=True)
def look_at_account(self: Task[..., Any], sub: str) -> None:
    """Look at the due events of one account, ahead of its turn."""
    with bound_to(self):
        result = looks.look_at_account(services(), sub)
        if result.looked_at:
            wake_outgoing()
        if result.resume_after:
            # Otherwise it waits for its turn, perhaps behind many others.
            wait = services().ledger.wakeups.after_refusal(sub, result.resume_after)
            if wait:
                look_at_account.apply_async(kwargs={"sub": sub}, countdown=wait.total_seconds())


@app.task(name="conferencing.authorize_connection", bind=True)
def authorize_connection(
    self: Task[..., Any], sub: str, provider_name: str, answer_id: str, until_ms: int
) -> None:
    """Get the address at which a user connects a service, for the page that waits for it."""
    with bound_to(self):
        connections.authorize_connection(services(), sub, provider_name, answer_id, until_ms)


@app.task(name="conferencing.note_connection", bind=True)
def note_connection(self: Task[..., Any], sub: str, provider_name: str, profile_id: str) -> None:
    """A user came back from Cronofy with this profile: set it on the events that wait for one."""
    with bound_to(self):
        connections.note_connection(services(), sub, provider_name, profile_id)
        wake_outgoing()


@app.task(name="conferencing.send_mail", bind=True)
def send_mail(self: Task[..., Any]) -> None:
    """Write what is to be told of incidents, and the report that is due; send what is due in the outbox."""
    with bound_to(self):
        write_report(services())
        tell_incidents(services())
        if outgoing.has_notices(services()):
            notify_operators.delay()
        outgoing.send_mails(services(), _publish_letter)


@app.task(name="conferencing.notify_operators", bind=True)
def notify_operators(self: Task[..., Any]) -> None:
    """Tell operators what is new of incidents, at ``RECONCILER_ESCALATION_URLS``."""
    with bound_to(self):
        outgoing.notify_operators(services())


@app.task(name="conferencing.deliver_outcomes", bind=True)
def deliver_outcomes(self: Task[..., Any]) -> None:
    """Send new outcomes to the task ``RECONCILER_OUTCOME_TASK`` and to ``RECONCILER_OUTCOME_URL``."""
    settings = services().settings
    with bound_to(self):
        if settings.outcome_task and settings.outcome_queue:
            task, queue = settings.outcome_task, settings.outcome_queue
            outgoing.deliver_outcomes(
                services().ledger.outcomes,
                lambda outcome: _publish(task, queue, {"outcome": json.loads(outcome)}),
            )
        outgoing.post_outcomes(services())


def wake_outgoing() -> None:
    """Wake the tasks that send, if there is something to send."""
    if services().outbox.has_due() or is_report_due(services()):
        send_mail.delay()
    ledger = services().ledger
    # Where to is known to the workers of that queue alone.
    if any_due(ledger.redis, ledger.keys, ledger.now()):
        notify_operators.delay()
    settings = services().settings
    undelivered = settings.outcome_task and ledger.outcomes.has_undelivered()
    if undelivered or (settings.outcome_url and ledger.posts.has_due(ledger.now())):
        deliver_outcomes.delay()


def _publish_letter(mail_id: str, kwargs: dict[str, Any]) -> None:
    settings = services().settings
    _publish(settings.mail_task or "", settings.mail_queue or "", kwargs, task_id=mail_id)


def _publish(task: str, queue_name: str, kwargs: dict[str, Any], **options: Any) -> None:
    """Send another program's task, on that program's own queue, not one that we take from."""
    queue: Any = Queue(queue_name, Exchange(queue_name), queue_name)
    app.send_task(task, kwargs=kwargs, queue=queue, ignore_result=True, **options)
