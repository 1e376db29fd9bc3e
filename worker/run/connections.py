"""Gets the address at which a user connects a service, for the page that waits for it (contract §6)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from enum import StrEnum

import structlog

from worker.bootstrap import Services
from worker.cronofy.callbacks import origin_of
from worker.cronofy.errors import ACCOUNT_REFUSED, CronofyError, Refused
from worker.ledger.answers import Answers
from worker.ledger.leases import Change, Lease, LeaseLost
from worker.ledger.records import from_ms, to_ms
from worker.mail.connect_links import DONE
from worker.reconcile.episodes import key_of_service
from worker.reconcile.relinks import arrived
from worker.run.looks import acquire, reconcile_account

log = structlog.get_logger()


class PageNote(StrEnum):
    """What the page is told besides the address."""

    #: There is nothing left to connect.
    CONNECTED = "connected"
    #: The account is not connected to us.
    NO_ACCESS = "no_access"
    #: Not now: it may be tried again.
    LATER = "later"
    #: Cronofy does not let this user connect this service.
    REFUSED = "refused"


def authorize_connection(
    services: Services, sub: str, provider_name: str, answer_id: str, until_ms: int
) -> None:
    """Ask Cronofy for the address, and give it to the page; nothing after `until_ms`, on the ledger's clock.

    That the user went there is noted in the episode, so that nobody is told before they are back.
    """
    answers = Answers(services.ledger.redis, services.ledger.keys, services.ledger.vault)
    until = from_ms(until_ms)
    if services.ledger.now() > until:
        return
    account, key = services.ledger.account(sub), key_of_service(provider_name)
    lease, answer = None, {"said": str(PageNote.LATER)}
    if account.lost or account.credentials is None:
        answer = {"said": PageNote.NO_ACCESS}
    elif key not in account.connects:
        answer = {"said": PageNote.CONNECTED}
    elif services.settings.webhook_url is not None and not services.settings.dry_run:
        lease = acquire(services, sub)
    try:
        if lease and services.ledger.now() <= until:
            answer = _asked(services, lease, provider_name)
    except LeaseLost:
        log.warning("connect.put_off", sub=sub, reason="lease_lost")
    except CronofyError as error:
        log.warning("connect.put_off", sub=sub, reason=error.reason, status=error.status)
        if isinstance(error, Refused) and not isinstance(error, ACCOUNT_REFUSED):
            answer = {"said": PageNote.REFUSED}
    finally:
        # Whatever was committed ended the lease already.
        if lease:
            with suppress(Exception):
                services.ledger.release(lease)
        answers.give(answer_id, answer)
    if lease and answer.get("said") == PageNote.CONNECTED:
        reconcile_account(services, sub)


def note_connection(services: Services, sub: str, provider_name: str, profile_id: str) -> None:
    """The user came back from Cronofy with this profile: set it on the events that wait for one.

    It is empty if Cronofy did not say which: then it is the only one that came since, if there is one.
    """
    lease, key = acquire(services, sub), key_of_service(provider_name)
    if lease is not None:
        episode = lease.account.connects.get(key)
        linked = {key: replace(episode, linked=profile_id)} if episode else {}
        services.ledger.commit(lease, Change(connects={**lease.account.connects, **linked}))
    reconcile_account(services, sub)


def _asked(services: Services, lease: Lease, provider_name: str) -> dict[str, str]:
    account, looker, key = lease.account, services.looker, key_of_service(provider_name)
    episode = account.connects.get(key)
    if episode is None:
        return {"said": PageNote.CONNECTED}
    with looker.cronofy.session(account, 2, urgent=True) as session:
        if key in arrived(account.connects, session.userinfo().profiles):
            return {"said": PageNote.CONNECTED}
        address = session.authorize_conferencing(
            provider_name, origin_of(services.settings.webhook_url or "") + DONE
        )
    refused = looker.rules.refusal(address)
    if refused:
        log.error("connect.refused", sub=lease.sub, reason=refused.replace("relink", "connect"))
        return {"said": PageNote.REFUSED}
    followed = replace(episode, followed_at=to_ms(lease.now))
    services.ledger.commit(lease, Change(connects={**account.connects, key: followed}))
    log.info("connect.followed", sub=lease.sub, provider_name=provider_name)
    return {"address": address}
