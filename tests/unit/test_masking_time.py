"""No text, however it is made, holds the masking: its time grows with the text's length, and no faster."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: How much text; what a quadratic expression needs hours for.
SIZE = 1_000_000
#: Linear masking takes well below a second for it.
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


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_megabyte_is_masked_in_time(text: str) -> None:
    """In a process of its own, which can be ended while an expression runs."""
    code = f"from config.logging import Redaction; n = {SIZE}; Redaction(['secret-1']).mask({text})"
    subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=True)
