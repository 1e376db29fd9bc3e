"""Tells the operator of incidents: one email when one opened, and one when it is over.

An email and the mark that it was written are one step, so a process that dies in between tells nothing twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

import structlog

from worker.bootstrap import Services
from worker.ledger.incidents import Incident
from worker.ledger.leases import Mail
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.mail.compose import LISTED_AFFECTED, AffectedEvent, IncidentEmail, RemovedProfile
from worker.mail.decision_links import decision_url
from worker.run.incidents import IncidentSize, affected, members, removed_profiles, size_of

#: How often an incident that was told is seen to: older versions remove events without noting it.
AGAIN = timedelta(hours=1)
#: How long trouble of the whole fleet lasts before it is told.
FLEET_AFTER = timedelta(minutes=1)

log = structlog.get_logger()


def tell_incidents(services: Services) -> int:
    """Write the emails about incidents that are due now; returns how many."""
    ledger = services.ledger
    if ledger.paused_since() is not None:
        return 0
    now, written = ledger.now(), 0
    for incident_id in ledger.incidents.due(now):
        incident = ledger.incidents.find(incident_id)
        if incident is None:
            ledger.redis.zrem(ledger.keys.incidents, incident_id)
        else:
            written += _see_to(services, incident, now)
    return written


def _see_to(services: Services, incident: Incident, now: datetime) -> bool:
    """Tell of one incident what is due; returns whether an email was written."""
    ledger, digest = services.ledger, services.settings.escalation_digest
    # Reading its events drops those that are gone.
    listed = [] if incident.is_damaged or incident.is_of_fleet else members(ledger, incident)
    size = size_of(ledger, incident)
    if not (size.events or size.whole_fleet):
        over_at = (incident.emptied_at or now) + digest
        if incident.told_at is not None and now < over_at:
            return _later(services, incident, over_at - now)
        return _closed(services, incident, size, now)
    if incident.told_at is not None or not incident.news:
        if incident.is_damaged:
            return _closed(services, incident, size, now)
        return _later(services, incident, AGAIN)
    # Nothing is kin to trouble of the whole fleet; but it may be over in a moment.
    tell_at = incident.opened_at + (min(digest, FLEET_AFTER) if incident.is_of_fleet else digest)
    if size.soonest is not None:
        tell_at = min(tell_at, size.soonest - 2 * digest)
    if now < tell_at:
        return _later(services, incident, tell_at - now)
    account_of = cache(ledger.account)
    removed = removed_profiles(listed, account_of)
    shown = tuple(affected(each, account_of(each.sub)) for each in listed[:LISTED_AFFECTED])
    mail = _mail(services, incident, size, now, shown, removed)
    named = {each.sub for each in shown} | {each.sub for each in removed[:LISTED_AFFECTED]}
    detail = {"events": size.events, "accounts": size.accounts}
    outcome = _outcome(OutcomeType.INCIDENT_OPENED, incident, now, **detail)
    again = timedelta(0) if incident.is_damaged else AGAIN
    if not ledger.tell(incident, "tell", again, mail, named, outcome):
        return False
    about = {"incident": incident.incident_id, "group": incident.group}
    log.info("incident.told", **about, mailed=mail is not None, **detail)
    return mail is not None


def _later(services: Services, incident: Incident, wait: timedelta) -> bool:
    services.ledger.tell(incident, "later", wait)
    return False


def _closed(services: Services, incident: Incident, size: IncidentSize, now: datetime) -> bool:
    """Close it; whoever was told that it opened is told that it is over."""
    mail = None
    if incident.mailed and not incident.is_damaged:
        mail = _mail(services, incident, size, now, is_over=True)
    detail = {"events": 0 if incident.is_of_fleet else incident.total, "acknowledged": incident.acknowledged}
    outcome = None
    if incident.told_at is not None:
        outcome = _outcome(OutcomeType.INCIDENT_CLOSED, incident, now, **detail)
    if not services.ledger.tell(incident, "close", timedelta(0), mail, (), outcome):
        return False
    log.info("incident.closed", incident=incident.incident_id, group=incident.group, mailed=mail is not None)
    return mail is not None


def _mail(
    services: Services,
    incident: Incident,
    size: IncidentSize,
    now: datetime,
    shown: tuple[AffectedEvent, ...] = (),
    removed: tuple[RemovedProfile, ...] = (),
    *,
    is_over: bool = False,
) -> Mail | None:
    """The email; None if nobody gets one."""
    settings = services.settings
    if settings.dry_run or not settings.escalation_email:
        return None
    to, link = settings.escalation_email, None
    if settings.board_url and not (is_over or incident.is_damaged or incident.is_of_fleet):
        vault = services.ledger.vault
        link = decision_url(settings.board_url, vault, incident.incident_id, to, now)
    email = IncidentEmail(
        to=to,
        incident_id=incident.incident_id,
        kind=incident.kind,
        provider_name=incident.provider,
        opened_at=incident.opened_at,
        events=incident.total if is_over else size.events,
        accounts=size.accounts,
        acknowledged=incident.acknowledged,
        affected=shown,
        removed=removed,
        link=link,
        client_id=settings.cronofy_client_id or "",
        is_over=is_over,
    )
    # Always the same id, so that an email sent twice is recognisable as one.
    mail_id = f"{incident.incident_id}-{'over' if is_over else 'opened'}"
    return services.looker.emails.incident(mail_id, email, now)


def _outcome(kind: OutcomeType, incident: Incident, now: datetime, **detail: int) -> Outcome:
    about = {"incident": incident.incident_id, "provider_name": incident.provider, **detail}
    return Outcome(kind, None, now, cause=incident.cause, detail={"reason": incident.kind, **about})
