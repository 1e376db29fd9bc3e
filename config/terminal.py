"""How text that came from outside is shown: nothing in it acts on a terminal, or fakes a line of ours."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

#: A line's parts, each with its style: bold, dim, green, yellow, red, or empty.
Line: TypeAlias = Sequence[tuple[str, str]]

#: Control characters (ESC, C1 and line breaks too), invisible format characters (bidi too), lone surrogates,
#: and the separators that some programs take for line breaks.
_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Some scripts and emoji need them.
_JOINERS = "\u200c\u200d"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def acts(character: str) -> bool:
    """Whether a terminal acts on the character, or hides it."""
    return unicodedata.category(character) in _ACTING and character not in _JOINERS


def shown(text: str) -> str:
    r"""`text` as one line, with each character that acts as JSON would escape it: ESC is \u001b.

    So JSON on one line stays the same JSON.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(character) if acts(character) else character for character in text)


def shown_lines(text: str) -> str:
    """The same for a text of several lines: its line feeds stay."""
    return "\n".join(map(shown, text.split("\n")))


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return _SHORT.get(character) or "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
