"""Settings: environment variables that begin with ``RECONCILER_``, read once and checked as a whole.

Public names and defaults follow ``docs/settings.md``; the few others are for tuning a fleet. Nothing here
touches the network, or any file but ``.env`` and the secrets'.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from config.durations import parse_duration
from config.files import SecretFiles, UnreadableFileError, check_dotenv, file_names
from config.redis_url import is_redis, parse

PREFIX = "RECONCILER_"
DOTENV = ".env"


class SettingsError(Exception):
    """Settings are missing, invalid or contradict each other; the message names each variable."""


class ReplacementPolicy(StrEnum):
    """Which connected profile may replace a removed one, and only when exactly one fits."""

    #: One of the same provider (Zoom for Zoom).
    SAME_PROVIDER = "same_provider"
    #: Any connected conferencing profile of the account.
    ANY_CONNECTED = "any_connected"
    #: A person decides.
    NEVER = "never"


class RelinkWhen(StrEnum):
    """When a user is first asked to connect a profile again."""

    #: Once an event waits for it.
    PENDING = "pending"
    #: Once Cronofy notifies us that it is disconnected.
    DISCONNECTED = "disconnected"


class UserMail(StrEnum):
    """By which way letters to users leave."""

    #: Our own mail server, or files.
    SMTP = "smtp"
    #: A Celery task of the application's, sealed.
    TASK = "task"
    #: A signed webhook.
    URL = "url"
    #: None: outcomes say what the application should send.
    OFF = "off"


class FallbackRung(StrEnum):
    """What the last resort may set on an event that is still pending shortly before its start."""

    #: Another connected conferencing profile of the account.
    ANY_CONNECTED = "any_connected"
    #: The calendar's own conferencing.
    INTEGRATED = "integrated"
    #: The company's own room, from `fallback_url`.
    EXPLICIT = "explicit"


class BatchCost(StrEnum):
    """How a batch call counts against Cronofy's limits, which its documentation does not say."""

    #: As many calls as it holds requests.
    ITEMS = "items"
    #: As one call.
    CALL = "call"


class GdprRequest(StrEnum):
    """What to do when a user wants their data erased at Cronofy."""

    TELL = "tell"
    FORGET = "forget"


def _duration(value: Any) -> timedelta:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from None


def _words(value: Any) -> Any:
    """Split a list at its commas and lines, dropping blanks and empty items."""
    if isinstance(value, str):
        return tuple(word for word in (part.strip() for part in re.split(r"[,\n]", value)) if word)
    return value


def _addresses(value: Any) -> Any:
    """Split a list of addresses at blanks, lines, and commas before the next one: each may have commas."""
    if isinstance(value, str):
        found = tuple(word for word in re.split(r"\s+|,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)", value) if word)
        if not all(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://.", address) for address in found):
            raise PydanticCustomError("url", "must be addresses that begin with a service and ://", {})
        return found
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _durations(value: Any) -> tuple[timedelta, ...]:
    return tuple(_duration(word) for word in _words(value))


def _vault_key(value: Any) -> Any:
    try:
        decoded = base64.b64decode(str(value).encode(), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        decoded = b""
    if len(decoded) != 32:
        raise PydanticCustomError("vault_key", "must be URL-safe base64 of 32 bytes", {})
    return value


def _token(value: Any) -> Any:
    if len(str(value)) < 16:
        raise PydanticCustomError("token", "must be at least 16 characters long", {})
    return value


def _checked_url(value: Any, *schemes: str) -> Any:
    try:
        parts = urlsplit(str(value))
        _ = parts.port
    except ValueError:
        # Python's own message would quote the URL, password included.
        raise PydanticCustomError("url", "is not a URL, or its port is not a number", {}) from None
    if len(str(value).splitlines()) > 1:
        # Python drops line breaks from a URL.
        raise PydanticCustomError("url", "must be one line", {})
    if schemes and parts.scheme not in schemes:
        wanted = ", ".join(f"{scheme}://" for scheme in schemes)
        raise PydanticCustomError("url", "must start with one of {wanted}", {"wanted": wanted})
    if not parts.hostname:
        raise PydanticCustomError("url", "has no host", {})
    return value


def _url(*schemes: str) -> BeforeValidator:
    return BeforeValidator(lambda value: _checked_url(value, *schemes))


def _plain_url(value: Any) -> Any:
    if set(str(_checked_url(value, "http", "https"))) & set("?#"):
        # What follows would be part of it.
        raise PydanticCustomError("url", "must not have a query or a fragment", {})
    return value


def _api_url(value: Any) -> Any:
    if "@" in urlsplit(str(_checked_url(value, "http", "https"))).netloc:
        # It would go out instead of the account's token, and stand wherever the origin is named.
        raise PydanticCustomError("url", "must not have a user or a password", {})
    return value


def _receiver_url(value: Any) -> Any:
    """Where signed webhooks go: nobody on the way may read them."""
    parts = urlsplit(str(_checked_url(value, "https", "http")))
    if "@" in parts.netloc:
        raise PydanticCustomError("url", "must not have a user or a password", {})
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise PydanticCustomError("url", "must start with https://, except on this machine", {})
    return value


def _signing_secret(value: Any) -> Any:
    """A symmetric secret of the Standard Webhooks specification."""
    try:
        decoded = base64.b64decode(str(value).removeprefix("whsec_").encode(), validate=True)
    except (ValueError, binascii.Error):
        decoded = b""
    if not 24 <= len(decoded) <= 64:
        reason = "must be whsec_ and then base64 of 24 to 64 bytes"
        raise PydanticCustomError("signing_secret", "{reason}", {"reason": reason})
    return value


def _room_url(value: Any) -> Any:
    """A template for the addresses of rooms: ``{key}``, once, where an address keeps upper and lower case."""
    text = str(_checked_url(value, "https"))
    before, found, after = text.partition("{key}")
    netloc, reason = urlsplit(text).netloc, None
    if not text.isascii() or not text.isprintable() or " " in text:
        reason = "must be ASCII without blanks"
    elif not found or "{key}" in after:
        reason = "must have {key} once: it stands for the event"
    elif set(before + after) & set("{}"):
        reason = "must have no braces but those of {key}"
    elif "{" in netloc or "@" in netloc:
        reason = "must have {key} after the host, and no user or password"
    if reason:
        raise PydanticCustomError("url", "{reason}", {"reason": reason})
    return value


def _redis_url(value: Any) -> Any:
    try:
        parse(str(value))
    except ValueError as error:
        raise PydanticCustomError("url", "{reason}", {"reason": str(error)}) from None
    return value


def _broker_url(value: Any) -> Any:
    if is_redis(str(value)):
        return _redis_url(value)
    # Only now, since importing it takes as long as all the rest.
    from kombu.transport import TRANSPORT_ALIASES  # noqa: PLC0415

    if str(value).partition("://")[0].partition("+")[0] not in TRANSPORT_ALIASES:
        reason = "must start with redis://, amqp:// or another scheme that Celery knows"
        raise PydanticCustomError("url", "{reason}", {"reason": reason})
    return _checked_url(value)


def _host_names(value: Any) -> Any:
    hosts = _words(value)
    if not all(re.fullmatch(r"[^\s/:*@?#]+", host) for host in hosts):
        reason = "must be host names alone, such as cronofy.com: no scheme, port, path or star"
        raise PydanticCustomError("hosts", "{reason}", {"reason": reason})
    return hosts


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Durations = Annotated[tuple[timedelta, ...], NoDecode, BeforeValidator(_durations)]
HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_host_names)]
Rungs = Annotated[tuple[FallbackRung, ...], NoDecode, BeforeValidator(_words)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_words)]
Token = Annotated[SecretStr, BeforeValidator(_token)]
VaultKey = Annotated[SecretStr, BeforeValidator(_vault_key)]
SigningSecret = Annotated[SecretStr, BeforeValidator(_signing_secret)]
SigningSecrets = Annotated[tuple[SigningSecret, ...], NoDecode, BeforeValidator(_words)]
VaultKeys = Annotated[tuple[VaultKey, ...], NoDecode, BeforeValidator(_words)]


class Settings(BaseSettings):
    """All settings, validated; ``docs/settings.md`` says what each one means."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=DOTENV, env_ignore_empty=True, extra="ignore", frozen=True
    )

    # Where the ledger and the broker are.
    redis_url: Annotated[str, BeforeValidator(_redis_url)] | None = Field(None, repr=False)
    broker_url: Annotated[str, BeforeValidator(_broker_url)] | None = Field(None, repr=False)
    key_prefix: str = Field("reconciler", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")
    data_dir: Path = Path("reconciler-data")
    secrets_dir: Path | None = None
    vault_keys: VaultKeys = ()

    # Cronofy.
    cronofy_client_id: str | None = None
    cronofy_client_secret: Secrets = ()
    cronofy_api_url: Annotated[str, BeforeValidator(_api_url)] | None = None
    api_per_second: int = Field(50, ge=1)
    api_per_minute: int = Field(500, ge=1)
    api_share: float = Field(0.8, gt=0, le=1)
    batch_cost: BatchCost = BatchCost.ITEMS
    http_timeout: Duration = timedelta(seconds=10)
    look_timeout: Duration = timedelta(seconds=30)

    # When to look and what to do.
    sweep_every: Duration = timedelta(seconds=5)
    grace: Duration = timedelta(minutes=2)
    recheck_min: Duration = timedelta(seconds=30)
    recheck_max: Duration = timedelta(hours=6)
    escalate_after: Duration = timedelta(hours=24)
    escalate_before: Duration = timedelta(hours=1)
    max_attempts: int = Field(5, ge=1)
    replacement: ReplacementPolicy = ReplacementPolicy.SAME_PROVIDER
    fallback: Rungs = ()
    fallback_before: Duration = timedelta(minutes=15)
    fallback_url: Annotated[str, BeforeValidator(_room_url)] | None = None
    dry_run: bool = False

    # Mail.
    relink_when: RelinkWhen = RelinkWhen.PENDING
    relink_reminders: Durations = (timedelta(days=1), timedelta(days=3), timedelta(days=7))
    relink_again: Duration = timedelta(days=1)
    relink_hosts: HostNames = ("cronofy.com",)
    user_mail: UserMail = UserMail.SMTP
    mail_task: str | None = None
    mail_queue: str | None = None
    mail_key: VaultKey | None = None
    mail_url: Annotated[str, BeforeValidator(_receiver_url)] | None = Field(None, repr=False)
    mail_secret: SigningSecrets = ()
    smtp_url: Annotated[SecretStr, _url("smtp", "smtps", "smtp+starttls")] | None = None
    mail_from: str = "Conferencing reconciler <reconciler@localhost>"
    mail_reply_to: str | None = None
    application_name: str | None = Field(None, max_length=80)
    mail_logo_url: Annotated[str, _url("https")] | None = None
    mail_color: str = Field("#1a5fb4", pattern=r"^#[0-9A-Fa-f]{6}$")
    support_address: str | None = None
    mail_locale: str = "en"
    templates_dir: Path | None = None
    escalation_email: str | None = None
    escalation_urls: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_addresses)] = ()
    escalation_digest: Duration = timedelta(minutes=15)
    report_email: str | None = None

    # Outcomes, history and logs.
    outcomes_keep: int = Field(100_000, ge=1)
    outcome_task: str | None = None
    outcome_queue: str | None = None
    outcome_url: Annotated[str, BeforeValidator(_receiver_url)] | None = Field(None, repr=False)
    outcome_secret: SigningSecrets = ()
    history_keep: Duration = timedelta(days=7)
    on_gdpr_request: GdprRequest = GdprRequest.TELL
    webhook_url: Annotated[str, _url("http", "https")] | None = None
    connect_return_url: Annotated[str, _url("http", "https")] | None = None
    reconnect_url: Annotated[str, _url("https")] | None = None
    board_url: Annotated[str, BeforeValidator(_plain_url)] | None = None
    board_token: Token | None = None
    metrics_token: Token | None = None
    log_format: Literal["console", "json"] | None = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)
    ] = "info"

    # Celery's own limits, tied to each other below.
    task_time_limit: Duration = timedelta(seconds=45)
    visibility_timeout: Duration = timedelta(seconds=55)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where settings come from, the strongest first; the directory of secrets is itself a setting."""
        strong = (init_settings, env_settings, dotenv_settings)
        places = [given["secrets_dir"] for given in (source() for source in strong) if "secrets_dir" in given]
        return *strong, SecretFiles(settings_cls, places[0] if places else None)

    @property
    def lease(self) -> timedelta:
        """How long a worker holds an account: a whole look plus its commit."""
        return self.look_timeout + timedelta(seconds=10)

    @property
    def ledger_url(self) -> str:
        """The URL of the ledger's Redis; SettingsError if there is none."""
        if self.redis_url is None:
            raise SettingsError(f"{PREFIX}REDIS_URL is not set and no embedded server is running.")
        return self.redis_url

    @property
    def broker(self) -> str:
        """The broker's URL, by default the ledger's; SettingsError if there is neither."""
        return self.broker_url or self.ledger_url

    @model_validator(mode="after")
    def _relations(self) -> Settings:
        """Refuse settings that contradict each other (docs/settings.md)."""
        pairs = [
            ("recheck_min", "recheck_max"),
            ("grace", "escalate_after"),
            ("http_timeout", "look_timeout"),
            ("look_timeout", "task_time_limit"),
        ]
        for lower, upper in pairs:
            if getattr(self, lower) > getattr(self, upper):
                raise _contradiction(f"{_name(lower)} must not be above {_name(upper)}")
        if self.task_time_limit >= self.visibility_timeout:
            raise _contradiction(
                f"{_name('task_time_limit')} must be below {_name('visibility_timeout')}, "
                "or a task that is still running is delivered a second time"
            )
        for field in ("sweep_every", "recheck_min", "http_timeout", "history_keep", "fallback_before"):
            if not getattr(self, field):
                raise _contradiction(f"{_name(field)} must be above 0")
        for wanted, field, when in self._needs():
            if wanted and not getattr(self, field):
                what = "must name a queue" if field.endswith("queue") else "must be set"
                name, _, state = when.partition(" ")
                raise _contradiction(f"{_name(field)} {what} when {_name(name)} {state}")
        if len(set(self.fallback)) < len(self.fallback):
            raise _contradiction(f"{_name('fallback')} must name nothing twice")
        if self.webhook_url and set(self.webhook_url) & set("?#"):
            raise _contradiction(f"{_name('webhook_url')} must not have a query or a fragment")
        if self.connect_return_url and not self.webhook_url:
            raise _contradiction(
                f"{_name('connect_return_url')} needs {_name('webhook_url')}, with which our link begins"
            )
        if self.reconnect_url and set(self.reconnect_url.replace("{sub}", "")) & set("{}"):
            raise _contradiction(f"{_name('reconnect_url')} may have no braces but those of {{sub}}")
        if list(self.relink_reminders) != sorted(set(self.relink_reminders)):
            raise _contradiction(f"{_name('relink_reminders')} must be durations in ascending order")
        return self

    def _needs(self) -> list[tuple[bool, str, str]]:
        """Whether a field is needed, the field, and what needs it."""
        by_task, by_url = self.user_mail is UserMail.TASK, self.user_mail is UserMail.URL
        return [
            (bool(self.outcome_task), "outcome_queue", "outcome_task is set"),
            (by_task, "mail_task", "user_mail is task"),
            (by_task, "mail_queue", "user_mail is task"),
            (by_url, "mail_url", "user_mail is url"),
            (FallbackRung.EXPLICIT in self.fallback, "fallback_url", "fallback has explicit"),
        ]


def _name(field: str) -> str:
    return PREFIX + field.upper()


def _contradiction(reason: str) -> PydanticCustomError:
    # Passed as a value, since braces in the template would be expanded.
    return PydanticCustomError("contradiction", "{reason}", {"reason": reason})


def load_settings(**overrides: Any) -> Settings:
    """Read the environment, ``.env`` and the secrets' files; `overrides`, by lower-case name, win over all.

    SettingsError has one sentence per fault, and never repeats a value, since it may be a secret.
    """
    try:
        check_dotenv(Path(DOTENV).absolute(), PREFIX)
        return Settings(**overrides)
    except UnreadableFileError as error:
        raise SettingsError(str(error)) from None
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(fault) for fault in error.errors())) from None


def misspelt_settings(settings: Settings) -> dict[str, str]:
    """Unknown names in the environment, ``.env`` and among the secrets, each with the setting it resembles.

    Other names with our prefix are ignored: Kubernetes sets some for each service.
    """
    place = settings.secrets_dir
    files = {name.upper() for name in file_names(place.expanduser())} if place else set()
    given = {*EnvSettingsSource(Settings).env_vars, *DotEnvSettingsSource(Settings).env_vars, *files}
    known = [_name(field) for field in Settings.model_fields]
    unknown = {name for name in map(str.upper, given) if name.startswith(PREFIX)}.difference(known)
    near = {name: get_close_matches(name, known, 1, 0.9) for name in unknown}
    near |= {name: [PREFIX + name] for name in files if PREFIX + name in known}
    return {name: found[0] for name, found in sorted(near.items()) if found}


def clear_environment() -> None:
    """Remove our settings from this process's environment, for programs that bring their own."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


def require_cronofy(settings: Settings) -> None:
    """Raise SettingsError unless the settings are enough to call Cronofy."""
    missing = [
        _name(field)
        for field in ("cronofy_client_id", "cronofy_client_secret")
        if not getattr(settings, field)
    ]
    if missing:
        raise SettingsError(f"{' and '.join(missing)} must be set to call Cronofy.")


def require_vault(settings: Settings) -> None:
    """Raise SettingsError unless there is a key to encrypt credentials with."""
    if not settings.vault_keys:
        raise SettingsError(
            f"{_name('vault_keys')} must be set: credentials are only stored encrypted. "
            'Make one with: python -c "from cryptography.fernet import Fernet; '
            'print(Fernet.generate_key().decode())"'
        )


def require_outgoing(settings: Settings) -> None:
    """Raise SettingsError unless the settings are enough to send what leaves the ledger."""
    if settings.user_mail is UserMail.TASK and settings.mail_key is None:
        raise SettingsError(
            f"{_name('mail_key')} must be set where letters go to the task {_name('mail_task')}: it seals "
            "them."
        )
    if settings.user_mail is UserMail.URL and not settings.mail_secret:
        raise SettingsError(
            f"{_name('mail_secret')} must be set where letters are posted to {_name('mail_url')}: it signs "
            "them."
        )
    if settings.outcome_url and not settings.outcome_secret:
        raise SettingsError(
            f"{_name('outcome_secret')} must be set where outcomes are posted to {_name('outcome_url')}: it "
            "signs them."
        )


def _sentence(fault: Any) -> str:
    reason = str(fault["msg"]).removeprefix("Input ").rstrip(".")
    if not fault["loc"]:
        return f"{reason}."
    if reason.startswith("should"):
        reason = "must" + reason.removeprefix("should")
    return f"{_name(str(fault['loc'][0]))} {reason}."
