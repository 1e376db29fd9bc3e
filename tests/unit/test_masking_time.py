"""No text, however it is made, holds the masking: its time grows with the text's length, and no faster."""

from __future__ import annotations

import subprocess
import sys

#: How much text; what a quadratic expression needs hours for.
SIZE = 1_000_000
#: Linear masking takes well below a second for each.
PATIENCE = 60
TEXTS = {
    "colons of a password": "'://' + ':' * n",
    "beginnings of URLs": "'https://' * (n // 8)",
    "beginnings of a relink link": "'https://a/relink' * (n // 16)",
    "relinks without a URL": "'/relink/' * (n // 8) + '://'",
    "bearers": "'Bearer ' * (n // 7)",
    "slashes and colons": "'://a:' * (n // 5)",
    "at signs": "'://' + '@' * n",
    "at signs and a slash": "'://' + 'a@' * (n // 2) + '/'",
    "names of fields": "'://\"refresh_token' * (n // 17)",
    "backslashes": "'://\"refresh_token\"' + '\\\\' * n",
    "one long word": "'://' + 'a' * n",
}


def test_a_megabyte_is_masked_in_time() -> None:
    """In a process of its own, which can be ended while an expression runs; it says what it is at."""
    lines = ["from config.logging import Redaction", f"n = {SIZE}"]
    for name, text in TEXTS.items():
        lines += [f"print({name!r}, flush=True)", f"Redaction(['secret-1']).mask({text})"]
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        timeout=PATIENCE,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )

    assert ran.stdout.splitlines() == list(TEXTS)
