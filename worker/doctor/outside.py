"""Everything outside Redis: Cronofy, the mail server, files and the webhook's URL."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from redis.exceptions import RedisError

from config.settings import Settings, SettingsError
from worker.addresses import mailbox
from worker.bootstrap import Services, bootstrap, notifiers_of
from worker.cronofy.budget import Spending
from worker.cronofy.callbacks import PATH, origin_of
from worker.cronofy.errors import CronofyError, OutOfBudget, Unreachable, Untrusted
from worker.cronofy.http import Deadline
from worker.cronofy.way_out import http_client
from worker.doctor.finding import Finding, ok, skipped, warning, wrong
from worker.doctor.hosts import CALLING, done_elsewhere, fault_here
from worker.host.private import is_open
from worker.ledger.connection import connect_once
from worker.ledger.figures import origins_asked
from worker.ledger.opening import keyless_ledger
from worker.ledger.records import DATA_CENTERS
from worker.mail.smtp import MailError, SmtpMailer
from worker.wording import amount

PATIENCE = timedelta(seconds=5)
#: A refresh token that nobody has; Cronofy refuses it only after accepting our client (reference §7).
NOBODYS_TOKEN = "reconciler-doctor-asks-whether-its-client-is-known"  # noqa: S105 - not a secret

NO_WAY_OUT = "not asked: the environment's proxies or certificates cannot be used"
CREDENTIALS = "correct RECONCILER_CRONOFY_CLIENT_ID and RECONCILER_CRONOFY_CLIENT_SECRET"


def examine_cronofy(settings: Settings) -> Iterator[Finding]:
    """Each origin in use is reachable and accepts our client; costs one call per secret."""
    try:
        services = bootstrap(settings)
    except SettingsError:
        yield skipped("cronofy", "not asked: settings are missing")
        return
    try:
        # The services' own client waits out an outage, but here a person is waiting.
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            redis.ping()
        if services.ledger.paused_since() is not None:
            yield skipped("cronofy", "not asked while the fleet is paused")
            return
        for origin in _origins(services):
            yield from _client(services, origin)
    except RedisError:
        yield skipped("cronofy", "not asked while Redis, which keeps the budget, is unavailable")
    finally:
        services.close()


def _origins(services: Services) -> list[str]:
    """The origins that the fleet has called; before its first call, the one with most accounts."""
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
    except Untrusted as error:
        fix = "if a proxy or an authority of your own issued it, name that one's certificate in SSL_CERT_FILE"
        yield wrong("cronofy", f"{host}: {error.reason}", fix)
        return
    except CronofyError as error:
        fix = "check Cronofy's status page, and any proxies and firewalls on the way"
        fault = wrong("cronofy", f"{host}: {error.reason}", fix)
        if isinstance(error, Unreachable):
            fault = fault_here(fault, "call it", services.settings, *CALLING)
        yield fault
        return
    # Cronofy checks the grant only after accepting the client.
    refused_secrets = sum(answer != "invalid_grant" for answer in answers)
    if refused_secrets == len(answers):
        yield wrong("cronofy", f"{host} refuses our client ({answers[0]})", CREDENTIALS)
    elif refused_secrets:
        what = f"{host} refuses {refused_secrets} of {len(answers)} client secrets"
        yield warning("cronofy", what, "drop the old one from RECONCILER_CRONOFY_CLIENT_SECRET")
    else:
        yield ok("cronofy", f"{host} answers and accepts our client")


def _ask(services: Services, origin: str, secret: str) -> str:
    """Cronofy's error for a refresh of nobody's token."""
    cronofy = services.looker.cronofy
    answer = cronofy.http.call(
        "POST",
        f"{origin}/oauth/token",
        # Allowed even while the fleet may not call because our client was refused.
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


def examine_user_mail(settings: Settings) -> Iterator[Finding]:
    """Whoever else sends letters to users can be reached; nothing is sent."""
    name = "user mail"
    if settings.user_mail == "smtp":
        yield ok(name, "sent as emails, like those to the operator")
    elif settings.user_mail == "task":
        yield ok(name, f"sent to the task {settings.mail_task} on the queue {settings.mail_queue}, sealed")
    elif settings.user_mail == "url":
        yield from _reached(name, settings.mail_url or "", settings)
    else:
        yield ok(name, "off: outcomes of the type mail_owed say what the application is to send")


def examine_escalations(settings: Settings) -> Iterator[Finding]:
    """Where operators are told of incidents, besides by email; nothing is sent."""
    name = "escalations"
    if not settings.escalation_urls:
        if settings.escalation_email:
            yield ok(name, "told by email and in the stream")
        else:
            fix = "set RECONCILER_ESCALATION_EMAIL, or RECONCILER_ESCALATION_URLS"
            yield warning(name, "incidents are told in the stream alone: no person is", fix)
        return
    try:
        notifiers = notifiers_of(settings)
    except SettingsError:
        yield skipped(name, "not asked: an address cannot be used")
        return
    yield ok(name, f"told to {amount(len(notifiers), 'address', 'addresses')}, too; none is tried here")
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            posts = keyless_ledger(redis, settings).posts
            for notifier in notifiers:
                owed, _ = replace(posts, to=notifier.key).counts()
                if owed:
                    what = f"address {notifier.service} has not taken {amount(owed, 'notification')} yet"
                    yield warning(name, what, "see the log, and correct RECONCILER_ESCALATION_URLS")
    except RedisError:
        return


def examine_mail(settings: Settings) -> Iterator[Finding]:
    """The mail server is reachable, with TLS if the URL says so, and accepts our login and sender."""
    if settings.smtp_url is None:
        place = settings.data_dir / "mail"
        if done_elsewhere(settings, "mail"):
            yield ok("mail", "not needed here: other hosts' workers send the mail")
        else:
            what = f"no server is set: emails go to files in {place}, and reach nobody"
            yield warning("mail", what, "set RECONCILER_SMTP_URL")
        return
    try:
        mailer = SmtpMailer(settings.smtp_url.get_secret_value(), timeout=PATIENCE)
        ours = (settings.mail_from, settings.mail_reply_to, settings.escalation_email, settings.report_email)
        mailer.check(*(mailbox(address) for address in ours if address))
    except ValueError:
        yield skipped("mail", "RECONCILER_SMTP_URL or one of our addresses is invalid")
    except MailError as error:
        fix = "correct RECONCILER_SMTP_URL or RECONCILER_MAIL_FROM, or fix the mail server"
        fault = wrong("mail", str(error).partition(";")[0], fix)
        # A fault of the configuration, such as a wrong password, is one everywhere.
        yield fault_here(fault, "send the mail", settings, "mail") if error.retry_after is None else fault
    else:
        yield ok("mail", "the server answers and accepts our login and sender")


def examine_files(settings: Settings) -> Iterator[Finding]:
    """The directory for emails without a mail server, and for the embedded server."""
    exposed = _exposed(settings.data_dir)
    if exposed is not None:
        what = f"others than its owner may look into {exposed}"
        yield warning("data directory", what, f"chmod 700 {shlex.quote(str(exposed))}, as its owner")
        return
    if settings.smtp_url is not None and settings.redis_url is not None:
        yield ok("data directory", "not needed with these settings")
        return
    place = settings.data_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        yield ok("data directory", f"{settings.data_dir} is writable")
    elif done_elsewhere(settings, "mail"):
        yield ok("data directory", "not needed here: other hosts' workers send the mail")
    else:
        what = f"{settings.data_dir} is not writable"
        yield wrong("data directory", what, "set RECONCILER_DATA_DIR to a directory this user can write")


def _exposed(data_dir: Path) -> Path | None:
    """A directory that others may look into though it holds an embedded server's data, or emails."""
    mail = data_dir / "mail"
    if is_open(data_dir) and os.path.lexists(data_dir / "embedded.conf"):
        return data_dir
    return mail if is_open(data_dir) and is_open(mail) else None


def examine_outcome_url(settings: Settings) -> Iterator[Finding]:
    """Whoever takes outcomes can be reached; nothing is posted. And what it did not take."""
    if settings.outcome_url is None:
        yield ok("outcome URL", "none is set: outcomes are read from the stream, or sent to a task")
        return
    yield from _reached("outcome URL", settings.outcome_url, settings)
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            owed, given_up = keyless_ledger(redis, settings).posts.counts()
    except RedisError:
        return
    if given_up:
        what = f"{amount(given_up, 'outcome was', 'outcomes were')} given up, as the receiver never took them"
        yield warning("outcome URL", what, "`reconciler outcomes` says why; replay or drop them")
    elif owed:
        yield warning("outcome URL", f"{amount(owed, 'outcome')} not taken yet, tried again", "see the log")


def _status_of(url: str) -> int:
    """The status of the answer to a GET; its body, which may have any length, is not read."""
    with http_client(timeout=PATIENCE.total_seconds()) as http, http.stream("GET", url) as answer:
        return answer.status_code


def _reached(name: str, url: str, settings: Settings) -> Iterator[Finding]:
    """Whether anything answers at a receiver's address: a GET is no webhook, so its answer says no more."""
    try:
        status = _status_of(url)
    except SettingsError:
        yield skipped(name, NO_WAY_OUT)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fix = "start the receiver, or correct its address"
        fault = wrong(name, f"cannot be reached ({type(error).__name__})", fix)
        yield fault_here(fault, "post to it", settings, "mail")
    else:
        if status in {502, 503, 504}:
            yield warning(name, f"answers {status}", "find out what is wrong with the receiver")
        else:
            yield ok(name, "answers")


def examine_webhook(settings: Settings) -> Iterator[Finding]:
    """The public URL, called as anyone may call it; no notification is faked."""
    if settings.webhook_url is None:
        yield ok("webhook", "no URL is set: callers pass notifications on")
        return
    url = origin_of(settings.webhook_url) + PATH
    fix = "start reconciler serve, and point RECONCILER_WEBHOOK_URL at it"
    try:
        status = _status_of(url)
    except SettingsError:
        yield skipped("webhook", NO_WAY_OUT)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield warning("webhook", f"cannot be reached from here ({type(error).__name__})", fix)
    else:
        # `reconciler serve` allows only POST there.
        if status == 405:
            yield ok("webhook", "answers")
        else:
            yield wrong("webhook", f"answers {status}, so it is not reconciler serve", fix)
