"""Whose workers serve our queues: two fleets on one set of queues would mix their accounts."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from celery import Celery
from redis.exceptions import RedisError

from config.celery import celery_config
from config.settings import Settings, SettingsError
from worker.broker.outages import why
from worker.broker.redis_transport import install
from worker.ledger.connection import connect_once
from worker.ledger.keys import Keys
from worker.ledger.layout import identity_of

#: The remote-control command by which each worker says whose it is.
COMMAND = "whose"
#: How long to wait for answers; a worker answers within milliseconds, unless its loop is busy.
ANSWER_SECONDS = 0.5
#: The longest wait for the broker itself.
PATIENCE_SECONDS = 2


def owner(settings: Settings, ledger_id: str | None) -> dict[str, Any]:
    """What the workers of one fleet have in common; the ledger's id is None while it is away."""
    return {"client_id": settings.cronofy_client_id, "ledger": ledger_id}


def strangers(settings: Settings) -> list[str]:
    """What is another than ours with workers that consume from our queues; none while the broker is away."""
    # Kombu keeps the transport that it loads first.
    install()
    config = celery_config(settings)
    # In each transport's own words: a broker that takes connections and then hangs is away, too.
    bounds = dict.fromkeys(("read_timeout", "write_timeout", "socket_timeout"), PATIENCE_SECONDS)
    config["broker_transport_options"] |= bounds
    app = Celery(set_as_current=False)
    app.conf.update(config)
    try:
        with app, app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE_SECONDS)
            answers = app.control.broadcast(
                COMMAND, reply=True, timeout=ANSWER_SECONDS, connection=connection
            )
    except Exception as error:
        if why(error) is None and not isinstance(error, OSError):
            raise
        return []
    ours = owner(settings, _ledger_id(settings))
    others = [whose for answer in answers or () for whose in answer.values() if isinstance(whose, dict)]
    return sorted({difference for whose in others if (difference := _difference(ours, whose))})


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    if theirs.get("client_id") != ours["client_id"]:
        return f"another client id ({theirs.get('client_id')})"
    if ours["ledger"] and theirs.get("ledger") and theirs["ledger"] != ours["ledger"]:
        return "another ledger"
    return None


def _ledger_id(settings: Settings) -> str | None:
    with (
        suppress(RedisError),
        connect_once(settings.ledger_url, timedelta(seconds=PATIENCE_SECONDS)) as redis,
    ):
        return identity_of(redis, Keys(settings.key_prefix))
    return None


def check_unserved(settings: Settings) -> None:
    """Raise SettingsError if another fleet's workers consume from our queues."""
    others = strangers(settings)
    if others:
        raise SettingsError(
            f"The queues {settings.key_prefix}.* are served by workers with {' and '.join(others)}: "
            "give each fleet a RECONCILER_KEY_PREFIX of its own, or stop the other workers first."
        )
