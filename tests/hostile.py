"""Text that acts on a terminal, as anyone may put into an id, a summary, a reason or an address."""

from __future__ import annotations

import unicodedata

#: ESC with a window title, a faked line, right-to-left, a C1 control, and a line separator.
ACTING = "\x1b]0;pwned\x07\x1b[2J\nreconciler: all is well\u202e\x9b31m\u2028\u2066\x7f"
#: What only Python's strings and careless JSON can hold.
SURROGATE = "\udc1b"


def acting(output: str) -> set[str]:
    """The characters that act on a terminal, or are hidden by it; line feeds are the program's own."""
    return {
        character
        for character in output
        if character not in "\n\u200c\u200d"
        and unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    }


def harmless(output: str) -> bool:
    """Whether nothing planted acts, and no planted line stands on its own."""
    return not acting(output) and "reconciler: all is well" not in [
        line.strip() for line in output.splitlines()
    ]
