"""`reconciler serve` as a process of its own, for a world's ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from config.settings import Settings
from tests.acceptance.processes import Child, environment
from tests.waiting import wait_until

_READY = re.compile(r'"port": (\d+)[^\n]*"serve\.ready"|"serve\.ready"[^\n]*"port": (\d+)')


def settings_of(settings: Settings) -> dict[str, str]:
    """What such a process needs of a world's settings."""
    return {
        "REDIS_URL": settings.redis_url or "",
        "KEY_PREFIX": settings.key_prefix,
        "VAULT_KEYS": settings.vault_keys[0].get_secret_value(),
        "CRONOFY_CLIENT_ID": settings.cronofy_client_id or "",
        "CRONOFY_CLIENT_SECRET": settings.cronofy_client_secret[0].get_secret_value(),
        "CRONOFY_API_URL": settings.cronofy_api_url or "",
        "LOG_FORMAT": "json",
    }


@contextmanager
def serving(home: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """Start it on a free port; its address."""
    log = home / "serve.log"
    child = Child(home, environment(**settings), log, "serve", "--port", "0")
    try:
        wait_until(lambda: _READY.search(log.read_text()), timeout=30, what="serve to listen")
        found = _READY.search(log.read_text())
        assert found
        yield f"http://127.0.0.1:{found[1] or found[2]}"
    finally:
        child.ask_to_end()
        child.process.wait(10)
