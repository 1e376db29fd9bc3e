"""What the processes of a fleet share: what is checked before one starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from redis.exceptions import RedisError

from config.logging import configure_logging
from config.settings import Settings, load_settings, require_cronofy
from worker.bootstrap import bootstrap, refuse_cluster, weaknesses
from worker.broker.served import check_unserved
from worker.host import embedded
from worker.ledger.layout import layout_of

log = structlog.get_logger()


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
