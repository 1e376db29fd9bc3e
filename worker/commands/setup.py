"""What commands share: their settings, and what they check or ask before they start."""

from __future__ import annotations

import getpass
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click
from redis import Redis
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
    with connected() as (settings, _):
        return settings


@contextmanager
def connected() -> Iterator[tuple[Settings, Redis]]:
    """The same, with a client of the ledger's server."""
    settings = settings_of_role()
    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        layout_of(redis, Keys(settings.key_prefix))
        yield settings, redis


def list_by_default(context: click.Context, listing: click.Command, *, as_json: bool) -> None:
    """What a group does that lists when no command of it is given; only then is --json its own."""
    if context.invoked_subcommand is None:
        context.invoke(listing, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"--json goes after {context.invoked_subcommand}.")


def check_ids(ids: Sequence[str], every: bool, what: str) -> None:
    """UsageError unless either some ids or --all were given."""
    if every == bool(ids):
        raise click.UsageError(f"Give the ids of {what}, or --all.")


def confirm(question: str, to: str, *, yes: bool, err: bool = False) -> None:
    """Ask before what the command would do, unless `yes`; Abort for a no, UsageError without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"There is no terminal to ask on: add --yes to {to}.")
    click.confirm(question, abort=True, err=err)


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
