"""The letters to users need nothing that a mail client lacks, as far as caniemail.com knows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.mail.language import translated
from worker.mail.letters import Letterhead, Letters, samples

HERE = Path(__file__).parent / "mail_clients"

#: What some client lacks, and why the letters are as good without it.
DISPENSABLE = {
    "<body> element": "each makes it another element, with its style; the table inside has the colour, too",
    "<style> element": "only for dark mode and phones; Gmail's page for phones shows the light letter",
    "@media": "the same",
    "border-radius": "Outlook on Windows draws square corners",
    "display:none": "the preview is transparent, one pixel high and without a height as well",
    "overflow": "the same; Outlook on Windows hides it by `mso-hide`",
    "height attribute": "a logo's height is in its style, too",
    "height property": "a logo's height is an attribute, too",
    "lang attribute": "HEY reads it out in its own language",
    "overflow-wrap": "`word-break` and `word-wrap` are there, too: one of the three works",
    "word-break": "the same",
    "role attribute": "HEY and the former Outlook call the layout a table",
    "text-decoration": "Proton on a phone underlines the button's words",
    "width attribute": "the tables' widths are in their style, too",
}


def _html() -> Iterator[str]:
    """Every sample of every letter in every language, with a logo and without."""
    for logo_url in (None, "https://acme.example/logo.png"):
        letters = Letters(Letterhead("Acme Hiring", logo_url=logo_url, support_address="help@acme.example"))
        for locale in translated():
            for _, email in samples(locale):
                yield letters.write(email).html


def _checked(html: str) -> str:
    """What is checked of it: not the words, in which most differ, and of rows that are the same only one."""
    head, body = html.split("<body")
    body = re.sub(r"(<tr>.*?</tr>)\1+", r"\1", re.sub(r"(?<=>)[^<]+", "", body))
    # It stops at what it knows of some clients only, as of this, which Yahoo needs.
    body = body.replace("word-wrap: break-word;", "")
    return re.sub(r'(lang="|<title>)[^"<]*', r"\1", head) + "<body" + body


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not on this machine")
def test_letters_need_nothing_that_a_mail_client_lacks(tmp_path: Path) -> None:
    """What is lacking somewhere is in the table with its reason, and nothing stale is."""
    home = shutil.copytree(HERE, tmp_path / "mail_clients")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(install, cwd=home, capture_output=True, timeout=120, check=True)

    done = subprocess.run(
        ["node", "unsupported.mjs"],
        cwd=home,
        input=json.dumps(sorted({_checked(html) for html in _html()})),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    found = json.loads(done.stdout)
    assert {title: clients for title, clients in found.items() if title not in DISPENSABLE} == {}
    assert sorted(DISPENSABLE) == sorted(found)
