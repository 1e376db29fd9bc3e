"""Celery's own configuration: queues, routes, limits and beat's schedule.

It departs from Celery's defaults only where measurements on a Redis broker showed that it matters.
"""

from __future__ import annotations

from typing import Any

from kombu import Exchange, Queue

from config.queues import Queues
from config.redis_url import RedisUrl, is_redis, parse
from config.settings import Settings

TASK_MODULES = ("tasks.intake", "tasks.urgent", "tasks.notifications", "tasks.internal")

#: Which queue each task goes to, where its sender names none.
ROUTES = {
    "conferencing.sweep": "looks",
    "conferencing.look_at_ready": "looks",
    "conferencing.look_at_account": "urgent",
    "conferencing.authorize_connection": "urgent",
    "conferencing.note_connection": "urgent",
    "conferencing.send_mail": "mail",
    "conferencing.deliver_outcomes": "mail",
    "conferencing.notify_operators": "mail",
    "conferencing.reconcile_event": "urgent",
    "conferencing.reconcile_account": "urgent",
    "conferencing.explain": "urgent",
    "conferencing.choose_profile": "urgent",
    "conferencing.decide_incident": "urgent",
    "conferencing.*": "intake",
}


def routes(prefix: str) -> dict[str, dict[str, str]]:
    """Celery's ``task_routes`` for the fleet with this ``RECONCILER_KEY_PREFIX``."""
    return {task: {"queue": getattr(Queues.of(prefix), queue)} for task, queue in ROUTES.items()}


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's settings for ours; SettingsError if there is no broker."""
    every = settings.sweep_every.total_seconds()
    prefix = settings.key_prefix
    queues = Queues.of(prefix)
    return {
        **_broker(settings),
        # Workers and beat survive a broker outage of any length.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_limit": 4,
        **_results(settings.ledger_url),
        "result_expires": 600,
        "redis_socket_timeout": 30.0,
        "redis_socket_connect_timeout": 5.0,
        "redis_backend_health_check_interval": 15,
        # JSON only: nothing is ever unpickled.
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in queues],
        "task_default_queue": queues.intake,
        "task_create_missing_queues": False,
        "task_routes": routes(prefix),
        "task_ignore_result": True,
        # Remote control and monitors of another Celery on this broker do not reach our workers.
        "control_exchange": prefix,
        "event_exchange": f"{prefix}.events",
        "event_queue_prefix": f"{prefix}.events",
        # A dead worker's task goes back on the queue, and a worker hoards no messages.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_time_limit": settings.task_time_limit.total_seconds(),
        "imports": TASK_MODULES,
        # Keep our own logging, and payloads out of results.
        "worker_consumer": "worker.broker.consumer:Consumer",
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "result_extended": False,
        "enable_utc": True,
        "timezone": "UTC",
        # Intervals need no memory, so beat keeps no schedule file.
        "beat_scheduler": "worker.broker.scheduler:Scheduler",
        "beat_max_loop_interval": max(1.0, min(every, 5.0)),
        "beat_schedule": {
            "sweep": {
                "task": "conferencing.sweep",
                "schedule": settings.sweep_every,
                # A missed tick is not worth retrying: the next one does the same. None expires, which
                # would compare the clocks of two hosts; a sweep that comes late finds its slot taken.
                "options": {"queue": queues.looks, "retry_policy": {"max_retries": 1}},
            }
        },
    }


def _broker(settings: Settings) -> dict[str, Any]:
    if not is_redis(settings.broker):
        # Otherwise RabbitMQ confirms nothing, and loses messages not yet on disk when it dies. Other
        # transports ignore the option.
        return {"broker_url": settings.broker, "broker_transport_options": {"confirm_publish": True}}
    redis, prefix = parse(settings.broker), settings.key_prefix
    options = {
        # A killed worker's messages come back after this; it is above any task's time limit.
        "visibility_timeout": settings.visibility_timeout.total_seconds(),
        # Under Kombu's own names, we would give back what another Celery's workers hold, and they ours.
        "unacked_key": f"{prefix}.unacked",
        "unacked_index_key": f"{prefix}.unacked_index",
        "unacked_mutex_key": f"{prefix}.unacked_mutex",
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "priority",
        # By default a read on a dead connection never returns. The worker's loop blocks meanwhile, several
        # such waits in a row, and must not be taken for stuck (worker.host.liveness).
        "socket_timeout": 10.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "health_check_interval": 15,
        **_sentinel_options(redis),
    }
    return {
        "broker_url": redis.for_celery,
        "broker_use_ssl": redis.tls or False,
        "broker_transport_options": options,
    }


def _results(url: str) -> dict[str, Any]:
    """Results go into the ledger's Redis."""
    redis = parse(url)
    kind = "SentinelResults" if redis.service else "Results"
    return {
        # Celery takes what is before the + for the backend's class.
        "result_backend": f"worker.broker.results:{kind}+{redis.for_celery.removeprefix('redis+')}",
        "redis_backend_use_ssl": redis.tls or {},
        "result_backend_transport_options": _sentinel_options(redis),
        # A Unix socket has no such option.
        "redis_socket_keepalive": not redis.socket,
    }


def _sentinel_options(redis: RedisUrl) -> dict[str, Any]:
    if not redis.service:
        return {}
    return {"master_name": redis.service, "sentinel_kwargs": redis.sentinel_entry}
