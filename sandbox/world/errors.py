"""The body of a 422: what is wrong, by field (§4)."""

from __future__ import annotations

Errors = dict[str, list[dict[str, str]]]


class Invalid(ValueError):
    """What Cronofy refuses with 422; `errors` says why, by field."""

    def __init__(self, errors: Errors) -> None:
        super().__init__(str(errors))
        self.errors = errors


def error(key: str, description: str) -> list[dict[str, str]]:
    """Return one field's entry."""
    return [{"key": key, "description": description}]


def missing(*names: str, within: str = "") -> Errors:
    """Return the errors about fields that are not there, perhaps within another: `outer.`."""
    return {within + name: error("errors.required", f"{name} must be specified") for name in names}
