"""Loads and runs the Lua scripts; each begins with the text of ``common.lua``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis

from worker.ledger.keys import Keys


@cache
def source(name: str) -> str:
    """The full text of one of the ledger's scripts."""
    folder = files("worker.ledger") / "scripts"
    return (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()


class Scripts:
    """Runs the ledger's scripts on one Redis; each is sent once, then called by its hash."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._prefix = keys.prefix
        self._known: dict[str, Any] = {}

    def run(self, name: str, *args: Any) -> Any:
        """Run a script in one atomic step; its first argument is always the key prefix."""
        script = self._known.get(name)
        if script is None:
            script = self._known[name] = self._redis.register_script(source(name))
        return script(args=[self._prefix, *args])
