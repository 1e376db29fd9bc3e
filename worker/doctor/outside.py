"""Everything outside Redis: Cronofy, the mail server, files, the address of the webhook."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
from redis.exceptions import RedisError

from config.settings import Settings, SettingsError
from worker.bootstrap import Services, bootstrap
from worker.cronofy.budget import Spending
from worker.cronofy.callbacks import PATH, origin_of
from worker.cronofy.errors import CronofyError, OutOfBudget
from worker.cronofy.http import Deadline
from worker.doctor.finding import Finding, ok, skipped, warning, wrong
from worker.ledger.connection import connect_once
from worker.ledger.figures import origins_asked
from worker.ledger.records import DATA_CENTERS
from worker.mail.smtp import MailError, SmtpMailer

PATIENCE = timedelta(seconds=5)
#: A refresh token that nobody has: Cronofy only says so once it has accepted our client (reference §7).
NOBODYS_TOKEN = "reconciler-doctor-asks-whether-its-client-is-known"  # noqa: S105 - not a secret

CREDENTIALS = "correct RECONCILER_CRONOFY_CLIENT_ID and RECONCILER_CRONOFY_CLIENT_SECRET"


def examine_cronofy(settings: Settings) -> Iterator[Finding]:
    """Each origin in use is reachable and accepts our client; costs one call for each secret."""
    try:
        services = bootstrap(settings)
    except SettingsError:
        yield skipped("cronofy", "the settings do not allow it to be asked")
        return
    try:
        # The fleet's own client is patient with an outage; a person who waits here is not.
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            redis.ping()
        if services.ledger.paused_since() is not None:
            yield skipped("cronofy", "not asked while the fleet is paused")
            return
        for origin in _origins(services):
            yield from _client(services, origin)
    except RedisError:
        yield skipped("cronofy", "not asked while Redis, which keeps the budget, cannot be used")
    finally:
        services.close()


def _origins(services: Services) -> list[str]:
    """The origins that the fleet has called; before it ever did, the one that most accounts are at."""
    ledger, cronofy = services.ledger, services.looker.cronofy
    known = origins_asked(ledger.redis, ledger.keys)
    possible = dict.fromkeys(cronofy.origin(center) for center in DATA_CENTERS)
    return [origin for origin in possible if origin in known] or [cronofy.origin("us")]


def _client(services: Services, origin: str) -> Iterator[Finding]:
    cronofy = services.looker.cronofy
    host = urlsplit(origin).netloc
    answers = []
    try:
        for secret in cronofy.client_secrets:
            answers.append(_ask(services, origin, secret))
    except OutOfBudget as refused:
        yield skipped("cronofy", f"{host} not asked: {refused.reason}")
        return
    except CronofyError as error:
        fix = "look at Cronofy's status page, and at proxies and firewalls between"
        yield wrong("cronofy", f"{host}: {error.reason}", fix)
        return
    # Cronofy looks at the grant only after it has accepted the client.
    refused_secrets = sum(answer != "invalid_grant" for answer in answers)
    if refused_secrets == len(answers):
        yield wrong("cronofy", f"{host} refuses our client ({answers[0]})", CREDENTIALS)
    elif refused_secrets:
        what = f"{host} refuses {refused_secrets} of {len(answers)} client secrets"
        yield warning("cronofy", what, "drop the old one from RECONCILER_CRONOFY_CLIENT_SECRET")
    else:
        yield ok("cronofy", f"{host} answers and accepts our client")


def _ask(services: Services, origin: str, secret: str) -> str:
    """The error that Cronofy answers a refresh of nobody's token with."""
    cronofy = services.looker.cronofy
    answer = cronofy.http.call(
        "POST",
        f"{origin}/oauth/token",
        # Also while the fleet itself may not call, since our client was refused.
        spending=Spending(cronofy.budget(origin), 1, urgent=True, probing=True),
        deadline=Deadline(PATIENCE),
        body={
            "client_id": cronofy.client_id,
            "client_secret": secret,
            "grant_type": "refresh_token",
            "refresh_token": NOBODYS_TOKEN,
        },
        also=(400, 401, 403),
    )
    return str(answer.json_object().get("error"))[:40]


def examine_mail(settings: Settings) -> Iterator[Finding]:
    """The mail server is reachable, by TLS if the URL asks for it, and accepts the login; nothing is sent."""
    if settings.smtp_url is None:
        yield ok("mail", f"no server is set: kept as files in {settings.data_dir / 'mail'}")
        return
    try:
        mailer = SmtpMailer(settings.smtp_url.get_secret_value(), timeout=PATIENCE)
        mailer.try_login()
    except ValueError:
        yield skipped("mail", "RECONCILER_SMTP_URL cannot be used")
    except MailError as error:
        yield wrong(
            "mail", str(error).partition(";")[0], "correct RECONCILER_SMTP_URL, or repair the mail server"
        )
    else:
        yield ok("mail", "the server answers and takes our login")


def examine_files(settings: Settings) -> Iterator[Finding]:
    """The directory for mail as files, where there is no mail server, and for the embedded server."""
    if settings.smtp_url is not None and settings.redis_url is not None:
        yield ok("data directory", "not needed with these settings")
        return
    place = settings.data_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        yield ok("data directory", f"{settings.data_dir} can be written")
    else:
        what = f"{settings.data_dir} cannot be written"
        yield wrong("data directory", what, "set RECONCILER_DATA_DIR to a directory of this user")


def examine_webhook(settings: Settings) -> Iterator[Finding]:
    """The public address, called as anybody may; no notification is faked."""
    if settings.webhook_url is None:
        yield ok("webhook", "no address is set: callers hand notifications over")
        return
    url = origin_of(settings.webhook_url) + PATH
    fix = "start reconciler serve, and let RECONCILER_WEBHOOK_URL lead to it"
    try:
        # The status is enough, and a body may be of any length.
        with httpx.stream("GET", url, timeout=PATIENCE.total_seconds()) as answer:
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield warning("webhook", f"cannot be reached from here ({type(error).__name__})", fix)
        return
    # It takes POST alone.
    if status == 405:
        yield ok("webhook", "answers")
    else:
        yield wrong("webhook", f"answers {status}, as reconciler serve does not", fix)
