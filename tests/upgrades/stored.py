"""Ledgers as text: written by `dumped`, read by `load`. One is kept for each former version.

Each key, without its prefix, has its type, its value and, if it expires, for how long it still lives. Bytes
that are not printable text are in base64, after the word ``base64:``.
"""

from __future__ import annotations

import base64
import json
from math import ceil
from pathlib import Path
from typing import Any

from redis import Redis

#: What an expiry is a multiple of: of the first, if it is less than the second.
SECONDS_MS, HOUR_MS = 8_000, 3_600_000
#: The prefix that stands in values, too.
PREFIX = "reconciler"
V0_1_0 = Path(__file__).with_name("ledger-0.1.0.json")


def dumped(redis: Redis) -> dict[str, Any]:
    """Every key of the ledger with the usual prefix."""
    keys = sorted(redis.scan_iter(f"{PREFIX}:*", count=1000))
    return {_text(key).removeprefix(f"{PREFIX}:"): _dumped(redis, key) for key in keys}


def load(redis: Redis, prefix: str, ledger: dict[str, Any]) -> None:
    """Write a ledger that `dumped` returned, under another prefix."""
    for name, entry in ledger.items():
        key, value = f"{prefix}:{name}", entry["value"]
        match entry["type"]:
            case "string":
                redis.set(key, _bytes(value))
            case "hash":
                redis.hset(key, mapping={_bytes(field): _bytes(each) for field, each in value.items()})
            case "list":
                redis.rpush(key, *map(_bytes, value))
            case "set":
                redis.sadd(key, *(_bytes(each.replace(f"{PREFIX}:", f"{prefix}:", 1)) for each in value))
            case "zset":
                redis.zadd(key, {_bytes(member): score for member, score in value.items()})
            case "stream":
                for entry_id, fields in value.items():
                    redis.xadd(key, {_bytes(f): _bytes(each) for f, each in fields.items()}, id=entry_id)
        if "expires_in_ms" in entry:
            redis.pexpire(key, entry["expires_in_ms"])


def as_text(content: dict[str, Any]) -> str:
    """The text of a file: one field a line, so that a diff can be read."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> dict[str, Any]:
    """The content of such a file."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _dumped(redis: Any, key: bytes) -> dict[str, Any]:
    kind = redis.type(key).decode()
    value: Any
    match kind:
        case "string":
            value = _text(redis.get(key))
        case "hash":
            value = _texts(redis.hgetall(key))
        case "list":
            value = [_text(each) for each in redis.lrange(key, 0, -1)]
        case "set":
            value = sorted(_text(each) for each in redis.smembers(key))
        case "zset":
            value = {_text(member): score for member, score in redis.zrange(key, 0, -1, withscores=True)}
        case "stream":
            value = {_text(entry_id): _texts(fields) for entry_id, fields in redis.xrange(key)}
    left = redis.pttl(key)
    # Rounded up, since making it takes some seconds of its own.
    unit = SECONDS_MS if left < HOUR_MS else HOUR_MS
    return {"type": kind, "value": value} | ({"expires_in_ms": ceil(left / unit) * unit} if left > 0 else {})


def _texts(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {_text(name): _text(fields[name]) for name in sorted(fields)}


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and (text or not value):
        return text
    return f"base64:{base64.b64encode(value).decode()}"


def _bytes(text: str) -> bytes:
    head, found, encoded = text.partition("base64:")
    return base64.b64decode(encoded) if found and not head else text.encode()
