"""What commands share: where their settings come from, and what they check before they start."""

from __future__ import annotations

import getpass
import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from redis.exceptions import RedisError

from config.logging import configure_logging
from config.settings import Settings, SettingsError, load_settings, require_cronofy
from worker.bootstrap import bootstrap, refuse_cluster, weaknesses
from worker.broker.served import check_unserved
from worker.host import embedded
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.keys import Keys
from worker.ledger.layout import layout_of

log = structlog.get_logger()


def optional(module: str, extra: str) -> Any:
    """Import a module that needs an extra; SettingsError if that is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"This command needs {error.name}: install conferencing-reconciler[{extra}]."
        ) from None


def settings_of_role() -> Settings:
    """The settings of a single process, in a fleet or under `up`; never starts a server."""
    settings = load_settings()
    if settings.redis_url is not None:
        return settings
    url = embedded.running_url(settings.data_dir)
    if url is None:
        raise SettingsError(
            "RECONCILER_REDIS_URL is not set and no embedded server is running in "
            f"{settings.data_dir}: set it, or start one with `reconciler up`."
        )
    return embedded.with_embedded_keys(settings.model_copy(update={"redis_url": url}))


def settings_of_command() -> Settings:
    """The same for a command that reads or writes the ledger; NewerLedger, or RedisError, if it cannot."""
    settings = settings_of_role()
    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        layout_of(redis, Keys(settings.key_prefix))
    return settings


def user_of_machine() -> str:
    """Who runs this command: the name in the history of what they decide, unless they give another."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


@contextmanager
def settings_for_all() -> Iterator[tuple[Settings, dict[str, str]]]:
    """The settings of `up`, and the environment for its children."""
    settings = load_settings()
    if settings.redis_url is not None:
        yield settings, {}
        return
    require_cronofy(settings)
    with embedded.embedded_server(settings.data_dir) as url:
        settings = embedded.with_embedded_keys(settings.model_copy(update={"redis_url": url}))
        keys = ",".join(key.get_secret_value() for key in settings.vault_keys)
        yield settings, {"RECONCILER_REDIS_URL": url, "RECONCILER_VAULT_KEYS": keys}


def check(settings: Settings) -> None:
    """Fail early on bad settings, a newer ledger or a Redis Cluster; an unfit Redis is a warning."""
    configure_logging(settings)
    refuse_cluster(settings)
    services = bootstrap(settings)
    try:
        layout_of(services.ledger.redis, services.ledger.keys)
        for weakness in weaknesses(services.ledger.redis):
            log.warning("redis.unfit", reason=weakness)
    except RedisError as error:
        # It may come up later: workers wait for it.
        log.warning("redis.unreachable", reason=type(error).__name__)
    finally:
        services.close()
    check_unserved(settings)


def check_layout(settings: Settings) -> None:
    """NewerLedger if this program does not know the ledger's layout; Redis may be away and come up later."""
    with suppress(RedisError), connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        layout_of(redis, Keys(settings.key_prefix))
