"""Settings: environment variables that begin with ``RECONCILER_``, read once and checked as a whole.

Public names and defaults follow ``docs/settings.md``; the few others are for tuning a fleet. Nothing here
touches the network, or any file but ``.env`` and the secrets'.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from config.durations import parse_duration
from config.files import UnreadableFileError, file_names, read_dotenv, read_secrets
from config.redis_url import is_redis, parse

PREFIX = "RECONCILER_"
DOTENV = ".env"


class SettingsError(Exception):
    """Settings are missing, invalid or contradict each other; the message names each variable."""


def _split(pattern: str) -> BeforeValidator:
    """Split a list, dropping blanks and empty items."""

    def split(value: Any) -> Any:
        if isinstance(value, str):
            return tuple(word for word in map(str.strip, re.split(pattern, value)) if word)
        return value

    return BeforeValidator(split)


def _must(fits: Callable[[str], object], reason: str) -> AfterValidator:
    """Refuse what does not fit."""

    def check(value: Any) -> Any:
        if not fits(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError(reason)
        return value

    return AfterValidator(check)


def _bytes_in(text: str, altchars: bytes | None = None) -> int:
    """How many bytes this base64 holds; 0 if the text is not base64."""
    try:
        return len(base64.b64decode(text.encode(), altchars=altchars, validate=True))
    except ValueError:
        return 0


def is_vault_key(text: str) -> bool:
    """Whether this is a Fernet key."""
    return _bytes_in(text, b"-_") == 32


def _is_signing_secret(text: str) -> bool:
    """Whether this is a symmetric secret of the Standard Webhooks specification."""
    return 24 <= _bytes_in(text.removeprefix("whsec_")) <= 64


def _checked_url(value: Any, *schemes: str) -> Any:
    try:
        parts = urlsplit(str(value))
        _ = parts.port
    except ValueError:
        # Python's own message would quote the URL, password included.
        raise ValueError("is not a URL, or its port is not a number") from None
    if len(str(value).splitlines()) > 1:
        # Python drops line breaks from a URL.
        raise ValueError("must be one line")
    if schemes and parts.scheme not in schemes:
        wanted = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"must start with one of {wanted}")
    if not parts.hostname:
        raise ValueError("has no host")
    return value


def _url(*schemes: str) -> BeforeValidator:
    return BeforeValidator(lambda value: _checked_url(value, *schemes))


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what is posted there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in {"127.0.0.1", "::1", "localhost"}


def _room_url(value: Any) -> Any:
    """A template for the addresses of rooms: ``{key}``, once, where an address keeps upper and lower case."""
    text = str(_checked_url(value, "https"))
    before, found, after = text.partition("{key}")
    netloc = urlsplit(text).netloc
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be ASCII without blanks")
    if not found or "{key}" in after:
        raise ValueError("must have {key} once: it stands for the event")
    if set(before + after) & set("{}"):
        raise ValueError("must have no braces but those of {key}")
    if "{" in netloc or "@" in netloc:
        raise ValueError("must have {key} after the host, and no user or password")
    return value


def _redis_url(value: Any) -> Any:
    parse(str(value))
    return value


def _broker_url(value: Any) -> Any:
    if is_redis(str(value)):
        return _redis_url(value)
    # Only now, since importing it takes as long as all the rest.
    from kombu.transport import TRANSPORT_ALIASES  # noqa: PLC0415

    if str(value).partition("://")[0].partition("+")[0] not in TRANSPORT_ALIASES:
        raise ValueError("must start with redis://, amqp:// or another scheme that Celery knows")
    return _checked_url(value)


_LIST = _split(r"[,\n]")
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Durations = Annotated[tuple[Duration, ...], _LIST]
HostName = Annotated[
    str,
    _must(
        re.compile(r"[^\s/:*@?#]+").fullmatch,
        "must be host names alone, such as cronofy.com: no scheme, port, path or star",
    ),
]
HostNames = Annotated[tuple[HostName, ...], _LIST]
Rung = Literal["any_connected", "integrated", "explicit"]
Rungs = Annotated[tuple[Rung, ...], _LIST]
WebUrl = Annotated[str, _url("http", "https")]
#: For what is appended to it.
PlainUrl = Annotated[
    WebUrl, _must(lambda url: not set(url) & set("?#"), "must not have a query or a fragment")
]
#: A login would go out instead of the account's token, and stand wherever the origin is named.
ApiUrl = Annotated[
    WebUrl, _must(lambda url: "@" not in urlsplit(url).netloc, "must not have a user or a password")
]
ReceiverUrl = Annotated[ApiUrl, _must(_is_private, "must start with https://, except on this machine")]
Service = Annotated[
    SecretStr,
    _must(
        re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.").match,
        "must be addresses that begin with a service and ://",
    ),
]
#: At blanks, lines, and commas before the next one: each may have commas.
Services = Annotated[tuple[Service, ...], _split(r"\s+|,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")]
Secrets = Annotated[tuple[SecretStr, ...], _LIST]
Token = Annotated[SecretStr, _must(lambda text: len(text) >= 16, "must be at least 16 characters long")]
VaultKey = Annotated[SecretStr, _must(is_vault_key, "must be URL-safe base64 of 32 bytes")]
VaultKeys = Annotated[tuple[VaultKey, ...], _LIST]
SigningSecret = Annotated[
    SecretStr, _must(_is_signing_secret, "must be whsec_ and then base64 of 24 to 64 bytes")
]
SigningSecrets = Annotated[tuple[SigningSecret, ...], _LIST]


class Settings(BaseModel):
    """All settings, validated; ``docs/settings.md`` says what each one means."""

    model_config = ConfigDict(frozen=True)

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
    cronofy_api_url: ApiUrl | None = None
    api_per_second: int = Field(50, ge=1)
    api_per_minute: int = Field(500, ge=1)
    api_share: float = Field(0.8, gt=0, le=1)
    batch_cost: Literal["items", "call"] = "items"
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
    replacement: Literal["same_provider", "any_connected", "never"] = "same_provider"
    fallback: Rungs = ()
    fallback_before: Duration = timedelta(minutes=15)
    fallback_url: Annotated[str, BeforeValidator(_room_url)] | None = None
    dry_run: bool = False

    # Mail.
    relink_when: Literal["pending", "disconnected"] = "pending"
    relink_reminders: Durations = (timedelta(days=1), timedelta(days=3), timedelta(days=7))
    relink_again: Duration = timedelta(days=1)
    relink_hosts: HostNames = ("cronofy.com",)
    user_mail: Literal["smtp", "task", "url", "off"] = "smtp"
    mail_task: str | None = None
    mail_queue: str | None = None
    mail_key: VaultKey | None = None
    mail_url: ReceiverUrl | None = Field(None, repr=False)
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
    escalation_urls: Services = ()
    escalation_digest: Duration = timedelta(minutes=15)
    report_email: str | None = None

    # Outcomes, history and logs.
    outcomes_keep: int = Field(100_000, ge=1)
    outcome_task: str | None = None
    outcome_queue: str | None = None
    outcome_url: ReceiverUrl | None = Field(None, repr=False)
    outcome_secret: SigningSecrets = ()
    history_keep: Duration = timedelta(days=7)
    on_gdpr_request: Literal["tell", "forget"] = "tell"
    webhook_url: PlainUrl | None = None
    connect_return_url: WebUrl | None = None
    reconnect_url: Annotated[str, _url("https")] | None = None
    board_url: PlainUrl | None = None
    board_token: Token | None = None
    metrics_token: Token | None = None
    log_format: Literal["console", "json"] | None = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(str.lower)
    ] = "info"

    # Celery's own limits, tied to each other below.
    task_time_limit: Duration = timedelta(seconds=45)
    visibility_timeout: Duration = timedelta(seconds=55)

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
                raise ValueError(f"{_name(lower)} must not be above {_name(upper)}")
        if self.task_time_limit >= self.visibility_timeout:
            raise ValueError(
                f"{_name('task_time_limit')} must be below {_name('visibility_timeout')}, "
                "or a task that is still running is delivered a second time"
            )
        for field in ("sweep_every", "recheck_min", "http_timeout", "history_keep", "fallback_before"):
            if not getattr(self, field):
                raise ValueError(f"{_name(field)} must be above 0")
        needs = (
            (self.outcome_task, "outcome_queue", f"{_name('outcome_task')} is set"),
            (self.user_mail == "task", "mail_task", f"{_name('user_mail')} is task"),
            (self.user_mail == "task", "mail_queue", f"{_name('user_mail')} is task"),
            (self.user_mail == "url", "mail_url", f"{_name('user_mail')} is url"),
            ("explicit" in self.fallback, "fallback_url", f"{_name('fallback')} has explicit"),
        )
        for needed, field, when in needs:
            if needed and not getattr(self, field):
                what = "must name a queue" if field.endswith("queue") else "must be set"
                raise ValueError(f"{_name(field)} {what} when {when}")
        if len(set(self.fallback)) < len(self.fallback):
            raise ValueError(f"{_name('fallback')} must name nothing twice")
        if self.connect_return_url and not self.webhook_url:
            raise ValueError(
                f"{_name('connect_return_url')} needs {_name('webhook_url')}, with which our link begins"
            )
        if self.reconnect_url and set(self.reconnect_url.replace("{sub}", "")) & set("{}"):
            raise ValueError(f"{_name('reconnect_url')} may have no braces but those of {{sub}}")
        if list(self.relink_reminders) != sorted(set(self.relink_reminders)):
            raise ValueError(f"{_name('relink_reminders')} must be durations in ascending order")
        return self


def _name(field: str) -> str:
    return PREFIX + field.upper()


def load_settings(**overrides: Any) -> Settings:
    """Read the environment, ``.env`` and the secrets' files; `overrides`, by lower-case name, win over all.

    SettingsError has one sentence per fault, and never repeats a value, since it may be a secret.
    """
    try:
        given = {**_ours(_dotenv()), **_ours(os.environ), **overrides}
        if place := given.get("secrets_dir"):
            given = {**_ours(read_secrets(Path(place).expanduser(), PREFIX)), **given}
        return Settings(**given)
    except UnreadableFileError as error:
        raise SettingsError(str(error)) from None
    except ValidationError as error:
        raise SettingsError("\n".join(dict.fromkeys(map(_sentence, error.errors())))) from None


def _dotenv() -> Mapping[str, str | None]:
    return read_dotenv(Path(DOTENV).absolute(), PREFIX)


def _ours(variables: Mapping[str, str | None]) -> dict[str, str]:
    """What is given for each field, whatever the case of its name; an empty value counts as not given."""
    return {
        name[len(PREFIX) :].lower(): value
        for name, value in variables.items()
        if value and name.upper().startswith(PREFIX)
    }


def misspelt_settings(settings: Settings) -> dict[str, str]:
    """Unknown names in the environment, ``.env`` and among the secrets, each with the setting it resembles.

    Other names with our prefix are ignored: Kubernetes sets some for each service.
    """
    place = settings.secrets_dir
    files = {name.upper() for name in file_names(place.expanduser())} if place else set()
    given = {*os.environ, *_dotenv(), *files}
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
    mail = settings.user_mail
    needs = (
        (mail == "task", "mail_key", f"letters go to the task {_name('mail_task')}: it seals"),
        (mail == "url", "mail_secret", f"letters are posted to {_name('mail_url')}: it signs"),
        (settings.outcome_url, "outcome_secret", f"outcomes are posted to {_name('outcome_url')}: it signs"),
    )
    for needed, field, where in needs:
        if needed and not getattr(settings, field):
            raise SettingsError(f"{_name(field)} must be set where {where} them.")


def _sentence(fault: Any) -> str:
    reason = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    if not fault["loc"]:
        return f"{reason}."
    if reason.startswith("should"):
        reason = "must" + reason.removeprefix("should")
    return f"{_name(str(fault['loc'][0]))} {reason}."
