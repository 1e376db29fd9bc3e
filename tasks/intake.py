"""Intake: what other services tell us about accounts and events (contract §1)."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks.payload import delivered_again, public
from worker.bootstrap import Services
from worker.intake import accept
from worker.intake.payloads import AccountOnly, AcknowledgeEvent, ConnectAccount, OneEvent, TrackEvent


@public("conferencing.connect_account", ConnectAccount)
def connect_account(self: Task[..., Any], services: Services, account: ConnectAccount) -> bool:
    """Store an account's credentials."""
    return accept.connect_account(services, account, again=delivered_again(self))


@public("conferencing.forget_account", AccountOnly)
def forget_account(_: Task[..., Any], services: Services, account: AccountOnly) -> bool:
    """Erase an account."""
    return accept.forget_account(services, account)


@public("conferencing.track", TrackEvent)
def track(self: Task[..., Any], services: Services, tracked: TrackEvent) -> bool:
    """Start watching an event."""
    return accept.track(services, tracked, again=delivered_again(self))


@public("conferencing.untrack", OneEvent)
def untrack(_: Task[..., Any], services: Services, event: OneEvent) -> bool:
    """Stop watching an event."""
    return accept.untrack(services, event)


@public("conferencing.acknowledge", AcknowledgeEvent)
def acknowledge(self: Task[..., Any], services: Services, given: AcknowledgeEvent) -> bool:
    """Somebody answers for an event; false if it is not pending."""
    return accept.acknowledge(services, given, again=delivered_again(self))
