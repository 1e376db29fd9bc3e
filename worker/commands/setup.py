"""What commands share: where their settings come from, and what they check before they start."""

from __future__ import annotations

import getpass
import importlib
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from config.settings import Settings, SettingsError, load_settings
from worker.host import embedded
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.keys import Keys
from worker.ledger.layout import layout_of


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


def check_layout(settings: Settings) -> None:
    """NewerLedger if this program does not know the ledger's layout; Redis may be away and come up later."""
    with suppress(RedisError), connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        layout_of(redis, Keys(settings.key_prefix))
