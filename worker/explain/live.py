"""The part of `reconciler explain` that asks Cronofy, and so needs the whole program."""

from __future__ import annotations

from contextlib import closing

from config.logging import configure_logging
from config.settings import Settings, SettingsError
from worker.bootstrap import bootstrap
from worker.ledger.records import EventKey
from worker.reconcile.answer import Explained
from worker.run.looks import explain


def read_now(settings: Settings, sub: str, key: EventKey) -> Explained | None:
    """The event's diagnosis by a live read; SettingsError if the settings are not enough to call Cronofy."""
    # The command itself prints what it did.
    configure_logging(settings.model_copy(update={"log_level": "error"}))
    try:
        services = bootstrap(settings)
    except SettingsError as error:
        raise SettingsError(f"{error}\nUse --offline to answer from the ledger alone.") from None
    with closing(services):
        return explain(services, sub, key)
