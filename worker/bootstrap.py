"""Wires the program together, once per process, after the fork."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from config.logging import redaction_of
from config.queues import check_outcome_queue
from config.redis_url import is_redis
from config.settings import Settings, SettingsError, require_cronofy
from worker.addresses import mailbox
from worker.cronofy.budget import Budget
from worker.cronofy.callbacks import Callbacks, origin_of
from worker.cronofy.client import Cronofy
from worker.cronofy.http import HttpClient
from worker.cronofy.way_out import http_client
from worker.diagnosis.model import Policy, Rung
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.dead_letters import DeadLetters
from worker.ledger.ledger import Ledger
from worker.ledger.opening import open_ledger
from worker.ledger.outbox import Outbox
from worker.mail.connect_links import ConnectLinks
from worker.mail.letters import Letterhead, Letters, TemplateFault
from worker.mail.smtp import FileMailer, Mailer, SmtpMailer
from worker.reconcile.channel_check import Channels
from worker.reconcile.emails import Emails
from worker.reconcile.failure import Failures
from worker.reconcile.look import Looker
from worker.reconcile.relinks import RelinkRules
from worker.reconcile.rooms import Rooms
from worker.ways.notify import Notifier
from worker.ways.signed_post import SignedPost

#: How many accounts one process looks at concurrently. Waiting for Cronofy costs no CPU, but measurements
#: showed that more threads slow each other down.
THREADS = 8
#: Our Lua scripts need this version.
OLDEST_REDIS = 7
#: Even if all its slots are on one node.
CLUSTER = (
    "it is part of a Redis Cluster, which refuses commands on keys of several slots, such as ours: "
    "use a server with cluster-enabled no, and Sentinel for high availability"
)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that tasks and commands use."""

    settings: Settings
    ledger: Ledger
    outbox: Outbox
    dead_letters: DeadLetters
    looker: Looker
    mailer: Mailer
    #: None without a URL for outcomes.
    outcome_receiver: SignedPost | None
    #: None unless letters to users are posted.
    mail_receiver: SignedPost | None
    #: Where operators are told of incidents, besides by email.
    notifiers: tuple[Notifier, ...]

    def close(self) -> None:
        """Close all connections."""
        self.looker.cronofy.http.close()
        for each in (self.outcome_receiver, self.mail_receiver):
            if each is not None:
                each.close()
        self.ledger.redis.close()


def refuse_cluster(settings: Settings) -> None:
    """Raise SettingsError if ledger or broker is a Redis Cluster; one that does not answer is let through."""
    urls = {"REDIS_URL": settings.ledger_url, "BROKER_URL": settings.broker_url}
    for name, url in urls.items():
        if url is not None and is_redis(url):
            with connect_once(url, A_PERSONS_PATIENCE) as redis, suppress(RedisError):
                if is_cluster(redis.info()):
                    raise SettingsError(f"RECONCILER_{name} leads to a server that is unfit: {CLUSTER}.")


def is_cluster(info: dict[str, Any]) -> bool:
    """Whether a server with this INFO is part of a Redis Cluster."""
    return bool(info.get("cluster_enabled"))


def weaknesses(redis: Redis) -> tuple[str, ...]:
    """What makes this server unfit as the only store, each with its fix; RedisError if it is away.

    The ledger must survive a restart and lose no key to eviction.
    """
    info: dict[str, Any] = redis.info()
    found = []
    major = str(info.get("redis_version", "")).partition(".")[0]
    if major.isdigit() and int(major) < OLDEST_REDIS:
        found.append(f"version {info['redis_version']} is too old: use {OLDEST_REDIS}.0 or newer")
    if is_cluster(info):
        found.append(CLUSTER)
    if not info.get("aof_enabled"):
        found.append("writes are not kept on disk: set appendonly yes")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"maxmemory-policy {policy} may evict what is tracked: set noeviction")
    return tuple(found)


def bootstrap(settings: Settings) -> Services:
    """All services; SettingsError if a required setting is missing."""
    require_cronofy(settings)
    check_outcome_queue(settings)
    ledger = open_ledger(settings)
    policy = policy_of(settings)
    cronofy = _cronofy(settings, ledger)
    channels = links = None
    if settings.webhook_url is not None:
        lasting = max(settings.relink_reminders, default=timedelta(0))
        links = ConnectLinks(origin_of(settings.webhook_url), ledger.vault, lasting)
        if not settings.dry_run:
            channels = Channels(cronofy, Callbacks(settings.webhook_url, ledger.vault))
    looker = Looker(
        ledger=ledger,
        cronofy=cronofy,
        policy=policy,
        rules=RelinkRules(
            settings.relink_reminders,
            settings.relink_hosts,
            settings.cronofy_api_url,
            settings.relink_again,
            settings.relink_when == "disconnected",
            settings.reconnect_url,
        ),
        emails=Emails(
            settings.mail_from,
            settings.mail_reply_to,
            make_letters(settings),
            links,
        ),
        failures=Failures(ledger, policy, settings.max_attempts, redaction_of(settings).mask),
        dry_run=settings.dry_run,
        channels=channels,
        rooms=Rooms(settings.fallback_url, ledger.rooms_key) if settings.fallback_url else None,
    )
    return Services(
        settings,
        ledger,
        Outbox(ledger),
        ledger.dead_letters,
        looker,
        make_mailer(settings),
        receiver(settings.outcome_url, settings.outcome_secret),
        receiver(settings.mail_url, settings.mail_secret) if settings.user_mail == "url" else None,
        notifiers_of(settings),
    )


def policy_of(settings: Settings) -> Policy:
    """The settings that diagnosis and schedule depend on."""
    return Policy(
        grace=settings.grace,
        recheck_min=settings.recheck_min,
        recheck_max=settings.recheck_max,
        escalate_after=settings.escalate_after,
        escalate_before=settings.escalate_before,
        replacement=settings.replacement,
        fallback=tuple(Rung(rung) for rung in settings.fallback),
        fallback_before=settings.fallback_before,
        fallback_url=settings.fallback_url,
        connect=settings.webhook_url is not None,
    )


def check_addresses(settings: Settings) -> None:
    """Raise SettingsError if one of our own addresses is invalid."""
    for name in ("mail_from", "mail_reply_to", "escalation_email", "report_email", "support_address"):
        address = getattr(settings, name)
        try:
            if address:
                mailbox(address)
        except ValueError as error:
            raise SettingsError(f"RECONCILER_{name.upper()} is invalid: {error}.") from None


def make_letters(settings: Settings) -> Letters:
    """What writes letters to users; SettingsError if it cannot write one of them."""
    check_addresses(settings)
    own = settings.templates_dir.expanduser() if settings.templates_dir else None
    if own is not None and not own.is_dir():
        raise SettingsError(f"RECONCILER_TEMPLATES_DIR leads to {own}, which is no directory.")
    try:
        letters = Letters(letterhead_of(settings), settings.mail_locale, own)
        if own is not None:
            letters.check()
    except TemplateFault as error:
        raise SettingsError(f"A letter cannot be written: {error}.") from None
    except ValueError as error:
        raise SettingsError(f"RECONCILER_MAIL_LOCALE is {error}.") from None
    return letters


def _writes_to_users(settings: Settings) -> bool:
    """Whether letters leave this host: by its mail server, or by the application's own means."""
    by_smtp = settings.user_mail == "smtp" and settings.smtp_url is not None
    return not settings.dry_run and (by_smtp or settings.user_mail in {"task", "url"})


def letterhead_of(settings: Settings) -> Letterhead:
    """Whose letters they are; SettingsError if mail goes out and nothing says so.

    An installation from before this setting may have a name in its sender's address.
    """
    sender = mailbox(settings.mail_from)
    named = sender.display_name if "mail_from" in settings.model_fields_set else ""
    name = settings.application_name or named
    if not name and _writes_to_users(settings):
        raise SettingsError(
            "RECONCILER_APPLICATION_NAME must be set where letters go to users: they say whose they are. "
            "The name in RECONCILER_MAIL_FROM, as in "
            '"Acme Hiring <reconciler@example.org>", counts as well.'
        )
    support = settings.support_address
    return Letterhead(
        name or sender.display_name or sender.domain,
        settings.mail_logo_url,
        settings.mail_color,
        mailbox(support).addr_spec if support else None,
    )


def check_way_out(_: Settings) -> None:
    """Raise SettingsError if the environment's proxies or certificates cannot be used."""
    http_client().close()


def _cronofy(settings: Settings, ledger: Ledger) -> Cronofy:
    budget = partial(
        Budget,
        ledger.redis,
        settings.key_prefix,
        per_second=settings.api_per_second,
        per_minute=settings.api_per_minute,
        share=settings.api_share,
    )
    return Cronofy(
        HttpClient(settings.http_timeout, connections=THREADS + 4),
        ledger,
        budget,
        client_id=settings.cronofy_client_id or "",
        client_secrets=[secret.get_secret_value() for secret in settings.cronofy_client_secret],
        api_url=settings.cronofy_api_url,
        look_timeout=settings.look_timeout,
        batch_counts_items=settings.batch_cost == "items",
    )


def receiver(url: str | None, secrets: Sequence[SecretStr]) -> SignedPost | None:
    """Who takes signed webhooks at `url`; None without one, or on a host that has no secret to sign with."""
    return SignedPost(url, [secret.get_secret_value() for secret in secrets]) if url and secrets else None


def notifiers_of(settings: Settings) -> tuple[Notifier, ...]:
    """Where operators are told of incidents; SettingsError if an address cannot be used."""
    storage = settings.data_dir / "notify"
    urls = enumerate(settings.escalation_urls, 1)
    return tuple(Notifier(number, url.get_secret_value(), storage) for number, url in urls)


def make_mailer(settings: Settings) -> Mailer:
    """Where emails go; SettingsError if the SMTP URL is invalid."""
    if settings.smtp_url is None:
        return FileMailer(settings.data_dir / "mail")
    try:
        return SmtpMailer(settings.smtp_url.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"RECONCILER_SMTP_URL is invalid: {error}") from None
