"""The body of a 422: what is wrong, by field (§4)."""

from __future__ import annotations

Errors = dict[str, list[dict[str, str]]]


def error(key: str, description: str) -> list[dict[str, str]]:
    """Return one field's entry."""
    return [{"key": key, "description": description}]
