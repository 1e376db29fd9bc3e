"""How pages are made from templates."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from worker.wording import line

#: No text is shown in full that is longer than any of our sentences, and any URL with three ids.
LONGEST = 20_000


def templates_of(package: str) -> Environment:
    """The templates of a package. Whatever they show is escaped, and cannot reorder the text around it."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _plain(value: Any) -> Any:
    """A value that a template prints, on one line and without control and bidi characters."""
    # With this method, it is already HTML made by a template.
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return line(value, LONGEST)
    return value
