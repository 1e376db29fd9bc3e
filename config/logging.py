"""Logging through structlog, with secrets masked before a line is written."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from io import StringIO
from typing import Any, TextIO

import structlog
from structlog.typing import ExcInfo

from config.settings import Settings
from config.terminal import shown, shown_lines

MASK = "***"
#: Fields whose values are never written, however deeply nested.
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
#: An address, as long as it may be: it is a relink URL (Cronofy API reference §5) if it has `_RELINK` in it.
#: Here and below, each match takes all that could belong to it and none is tried from within another, or a
#: long text would take hours.
_ADDRESS = re.compile(r"https?:/(/[^\s\"'<>\\]*+)", re.IGNORECASE)
_RELINK = "/relink/"
_LOGIN = re.compile(r"(?<=://)[^/\s\"'\\]+(?=@)")
_BEARER = re.compile(r"(?<=Bearer )[^\s\"'\\]++", re.IGNORECASE)
#: A secret field in the text of a JSON object.
_FIELD = re.compile(rf'("(?:{"|".join(sorted(SECRET_FIELDS))})" ?: ?")[^"\\]*+')


#: What a line begins and ends with; everything else goes in between, in the order given.
_FIRST = ("timestamp", "level", "event", "sub", "calendar_id", "event_id")
_LAST = ("task", "task_id", "trace_id", "span_id")
#: Nearly all of our event names fit.
_EVENT_WIDTH = 24


class Redaction:
    """A structlog processor that masks secrets: by field, by shape, and the configured ones by value."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """`secrets` are never written; those under six characters are ignored, as they would mask words."""
        # Longest first: one may start with another.
        self._secrets = sorted((s for s in secrets if len(s) >= 6), key=len, reverse=True)

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        masked: dict[str, Any] = self.masked(dict(event))
        return masked

    def masked(self, value: Any) -> Any:
        """Any JSON value, without secrets."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            return {k: MASK if k in SECRET_FIELDS else self.masked(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.masked(item) for item in value]
        return value

    def mask_line(self, _logger: Any, _method: str, line: str) -> str:
        """Mask the rendered line too: some values only become text by rendering."""
        return self.mask(line)

    def mask(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        # Most texts have none of it, and there are many: looking for a word first is far cheaper.
        if "://" in text:
            text = _LOGIN.sub(MASK, _ADDRESS.sub(_without_relink, text))
        if "bearer " in text.lower():
            text = _BEARER.sub(MASK, text)
        if any(name in text for name in SECRET_FIELDS):
            text = _FIELD.sub(rf"\1{MASK}", text)
        return text


def _without_relink(address: re.Match[str]) -> str:
    return MASK if _RELINK in address[1].lower() else address[0]


def redaction_of(settings: Settings) -> Redaction:
    """Masks these settings' secrets and anything that looks like a secret."""
    secrets = [*settings.cronofy_client_secret, *settings.vault_keys]
    secrets += [*settings.outcome_secret, *settings.mail_secret, *settings.escalation_urls]
    single = (settings.board_token, settings.metrics_token, settings.mail_key)
    secrets += [secret for secret in single if secret is not None]
    return Redaction([secret.get_secret_value() for secret in secrets])


def configure_logging(settings: Settings) -> None:
    """Log everything, libraries included, to standard error: as text on a terminal, otherwise as JSON."""
    console = (settings.log_format or ("console" if sys.stderr.isatty() else "json")) == "console"
    redaction = redaction_of(settings)
    # No ExtraAdder: Celery's extras include a failed task's arguments, and with them tokens.
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
            exception_formatter=_traceback,
            sort_keys=False,
            pad_event_to=_EVENT_WIDTH,
        )
        final = [redaction, _for_people, renderer, redaction.mask_line]
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
        final = [structlog.processors.format_exc_info, redaction, _in_order, renderer, redaction.mask_line]
        final.append(lambda _logger, _method, line: shown(line))
    structlog.configure(
        processors=[
            # First, so that dropped lines cost nothing.
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # Otherwise a line that cannot be formatted is printed raw, secrets included.
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
    # At DEBUG, Celery logs whole messages, in base64.
    logging.getLogger("celery").setLevel(max(logging.INFO, root.level))
    # The pool's logger does not propagate, and would print its tracebacks unmasked.
    logging.getLogger("multiprocessing").handlers = [handler]
    logging.getLogger("multiprocessing").setLevel(max(logging.WARNING, root.level))
    # At INFO these log every tick, request and message, with URLs and arguments.
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
    # Apprise quotes addresses and answers; what failed is in a line of ours.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    # Requeued messages during an outage are no news: `redis.unavailable` already said why.
    logging.getLogger("celery.app.trace").setLevel(max(logging.ERROR, root.level))


def _traced(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the current span's ids, in a process that traces (`config.tracing`)."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is not None:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            event.update(trace_id=f"{span.trace_id:032x}", span_id=f"{span.span_id:016x}")
    return event


def _in_order(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put what the line is about first, and where it came from last."""
    first = {name: event[name] for name in _FIRST if name in event}
    last = {name: event[name] for name in _LAST if name in event}
    return first | {name: value for name, value in event.items() if name not in last} | last


def _for_people(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The line for a terminal: time of day only, no empty fields, short task names, nothing that acts on it.

    What is no text is rendered as Python writes it, which escapes too.
    """
    kept = {
        name: (shown_lines if name == "stack" else shown)(value) if isinstance(value, str) else value
        for name, value in event.items()
        if value not in (None, [], ())
    }
    if isinstance(kept.get("timestamp"), str):
        # 2026-11-25T08:56:11.642912Z, to the millisecond.
        kept["timestamp"] = kept["timestamp"][11:23] + "Z"
    if isinstance(kept.get("task"), str):
        kept["task"] = kept["task"].removeprefix("conferencing.")
    return _in_order(logger, method, kept)


def _traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """A traceback for a terminal; a pretty one would show local variables."""
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(shown_lines(text.getvalue()))
