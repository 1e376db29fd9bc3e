"""Whether to trace: needs the extra ``otel``, and is switched on by OpenTelemetry's own variables.

Without them, OpenTelemetry is never imported. `config.spans` says what is recorded.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import structlog

from config.settings import Settings

#: Needs the extra ``otel``.
_SPANS = "config.spans"

log = structlog.get_logger()


def wanted() -> bool:
    """Whether OpenTelemetry's variables name a collector and do not switch tracing off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return not off and exporter == "otlp" and any(os.environ.get(name) for name in named)


def prepare() -> None:
    """Import OpenTelemetry if it is wanted: once, before processes are forked."""
    if wanted():
        try:
            import_module(_SPANS)
        except ImportError as error:
            log.warning(
                "tracing.unavailable", reason=f"{error.name} is missing", mend="install the extra otel"
            )


def start(settings: Settings) -> None:
    """Start recording this process's spans, if that is wanted and the extra is installed."""
    if wanted() and _SPANS in sys.modules:
        sys.modules[_SPANS].record(settings)


def stop() -> None:
    """Send the last spans, within seconds whether or not the collector answers."""
    if _SPANS in sys.modules:
        sys.modules[_SPANS].flush()
