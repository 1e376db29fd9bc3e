"""Logging: structlog for all that is said, with what is secret masked before any line is written."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any

import structlog

from config.settings import Settings

MASK = "***"
#: Fields whose values are never written, wherever they appear.
SECRET_FIELDS = frozenset(
    {
        "access_token",
        "refresh_token",
        "client_secret",
        "authorization",
        "signature",
        "relink_url",
        "vault_keys",
    }
)
#: What a relink address looks like (Cronofy API reference §5), and what carries a token or a password.
_SECRET_TEXTS = (
    re.compile(r"https?://[^\s\"'<>\\]*/relink/[^\s\"'<>\\]*", re.IGNORECASE),
    re.compile(r"(?<=Bearer )[^\s\"'\\]+", re.IGNORECASE),
    re.compile(r"(?<=://)[^/\s\"'@\\]*:[^/\s\"'@\\]*(?=@)"),
)


#: What a line begins with, and what it ends with; all else stands between, as it was said.
_FIRST = ("timestamp", "level", "event", "sub", "calendar_id", "event_id")
_LAST = ("task", "task_id", "trace_id", "span_id")
#: As wide as nearly all of our events.
_EVENT_WIDTH = 24


class Redaction:
    """A structlog processor that masks secrets: by field, by shape, and the configured ones by value."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """`secrets` are values that must never be written; very short ones would mask ordinary words."""
        # The longest first: one may begin with another.
        self._secrets = sorted((s for s in secrets if len(s) >= 6), key=len, reverse=True)

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for name, value in event.items():
            event[name] = MASK if name in SECRET_FIELDS else self.masked(value)
        return event

    def masked(self, value: Any) -> Any:
        """The value, whatever JSON it is, without secrets."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            return {k: MASK if k in SECRET_FIELDS else self.masked(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.masked(item) for item in value]
        return value

    def mask_line(self, _logger: Any, _method: str, line: str) -> str:
        """The rendered line, with what was no text before masked as well."""
        return self.mask(line)

    def mask(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        if "://" in text or "bearer " in text.lower():
            # Else none of them fits, and most texts are short and many.
            for pattern in _SECRET_TEXTS:
                text = pattern.sub(MASK, text)
        return text


def redaction_of(settings: Settings) -> Redaction:
    """What masks the secrets of these settings, and all that looks like a secret."""
    secrets = [*settings.cronofy_client_secret, *settings.vault_keys]
    if settings.board_token is not None:
        secrets.append(settings.board_token)
    return Redaction([secret.get_secret_value() for secret in secrets])


def configure_logging(settings: Settings) -> None:
    """Send structlog's and the libraries' lines to standard error, as text for a terminal or as JSON."""
    console = (settings.log_format or ("console" if sys.stderr.isatty() else "json")) == "console"
    redaction = redaction_of(settings)
    # No ExtraAdder: what Celery adds to its lines holds a failed task's arguments, and so tokens.
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _traced,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[Any]
    renderer: Any
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # Plain tracebacks: the pretty ones show local variables.
            exception_formatter=structlog.dev.plain_traceback,
            sort_keys=False,
            pad_event_to=_EVENT_WIDTH,
        )
        final = [redaction, _for_people, renderer, redaction.mask_line]
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
        final = [structlog.processors.format_exc_info, redaction, _in_order, renderer, redaction.mask_line]
    structlog.configure(
        processors=[
            # Before any work is done for a line that is not written.
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # A line that cannot be formatted would otherwise be printed raw, with whatever is in it.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # At DEBUG, Celery writes whole messages, in base64.
    logging.getLogger("celery").setLevel(max(logging.INFO, root.level))
    # The pool's own logger hands nothing on, and would print its tracebacks as they are.
    logging.getLogger("multiprocessing").handlers = [handler]
    logging.getLogger("multiprocessing").setLevel(max(logging.WARNING, root.level))
    # These speak of every tick, request and message at INFO; URLs and arguments stay out of the log.
    for name in (
        "httpx",
        "httpcore",
        "celery.apps.worker",
        "celery.worker.request",
        "celery.worker.strategy",
        "celery.beat",
        "kombu",
        "amqp",
    ):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # A message that is given back while a server is away is no news: `redis.unavailable` said why.
    logging.getLogger("celery.app.trace").setLevel(max(logging.ERROR, root.level))


def _traced(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The line with the ids of the span that it belongs to, in a process that traces (`config.tracing`)."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is not None:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            event.update(trace_id=f"{span.trace_id:032x}", span_id=f"{span.span_id:016x}")
    return event


def _in_order(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The line with what it is about in front, and where it came from at the end."""
    first = {name: event[name] for name in _FIRST if name in event}
    last = {name: event[name] for name in _LAST if name in event}
    return first | {name: value for name, value in event.items() if name not in last} | last


def _for_people(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The same as it is read on a terminal: the time of day, and nothing that says nothing."""
    said = {name: value for name, value in event.items() if value not in (None, [], ())}
    if isinstance(said.get("timestamp"), str):
        # 2026-11-25T08:56:11.642912Z, to the millisecond.
        said["timestamp"] = said["timestamp"][11:23] + "Z"
    if isinstance(said.get("task"), str):
        said["task"] = said["task"].removeprefix("conferencing.")
    return _in_order(logger, method, said)
