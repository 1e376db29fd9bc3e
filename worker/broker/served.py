"""Whose workers serve our queues: two applications on one set of queues would mix their accounts."""

from __future__ import annotations

from typing import Any

from celery import Celery

from config.celery import celery_config
from config.settings import Settings, SettingsError
from worker.broker.redis_transport import install
from worker.outage import why

#: The remote-control command by which each worker says whose it is.
COMMAND = "whose"
#: How long to wait for answers; a worker answers within milliseconds, unless its loop is busy.
ANSWER_SECONDS = 0.5
#: The longest wait for the broker itself.
PATIENCE_SECONDS = 2


def owner(settings: Settings) -> dict[str, Any]:
    """What workers of one fleet have in common."""
    return {"client_id": settings.cronofy_client_id}


def other_owners(settings: Settings) -> list[str]:
    """The client ids of other applications whose workers consume from our queues.

    None are found while the broker is away.
    """
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
    owners = [whose for answer in answers or () for whose in answer.values() if whose != owner(settings)]
    return sorted({str(whose.get("client_id")) for whose in owners if isinstance(whose, dict)})


def check_unserved(settings: Settings) -> None:
    """Raise SettingsError if another application's workers consume from our queues."""
    others = other_owners(settings)
    if others:
        raise SettingsError(
            f"The queues {settings.key_prefix}.* are served by workers with another client id "
            f"({', '.join(others)}): give each application a RECONCILER_KEY_PREFIX of its own, "
            "or stop the other workers first."
        )
