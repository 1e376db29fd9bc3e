"""Intake: what other services tell us about accounts and events (contract §1)."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import Task

from tasks.payload import INTAKE, delivered_again, handle
from worker.app import app
from worker.intake import accept
from worker.intake.payloads import AccountOnly, AcknowledgeEvent, ConnectAccount, OneEvent, TrackEvent


@app.task(name="conferencing.connect_account", **INTAKE)
def connect_account(self: Task[..., Any], /, *args: Any, **kwargs: Any) -> bool:
    """Store an account's credentials."""
    service = partial(accept.connect_account, again=delivered_again(self))
    return handle(self, ConnectAccount, service, args, kwargs)


@app.task(name="conferencing.forget_account", **INTAKE)
def forget_account(self: Task[..., Any], /, *args: Any, **kwargs: Any) -> bool:
    """Erase an account."""
    return handle(self, AccountOnly, accept.forget_account, args, kwargs)


@app.task(name="conferencing.track", **INTAKE)
def track(self: Task[..., Any], /, *args: Any, **kwargs: Any) -> bool:
    """Start watching an event."""
    return handle(self, TrackEvent, partial(accept.track, again=delivered_again(self)), args, kwargs)


@app.task(name="conferencing.untrack", **INTAKE)
def untrack(self: Task[..., Any], /, *args: Any, **kwargs: Any) -> bool:
    """Stop watching an event."""
    return handle(self, OneEvent, accept.untrack, args, kwargs)


@app.task(name="conferencing.acknowledge", **INTAKE)
def acknowledge(self: Task[..., Any], /, *args: Any, **kwargs: Any) -> bool:
    """Somebody answers for an event; false if it is not pending."""
    service = partial(accept.acknowledge, again=delivered_again(self))
    return handle(self, AcknowledgeEvent, service, args, kwargs)
