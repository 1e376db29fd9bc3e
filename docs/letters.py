"""Takes pictures of the letters to users: `python docs/letters.py FOLDER`. Needs Chromium on PATH.

Each letter in four languages, light, dark and at 320 pixels, to be looked at; with a font for Japanese.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from screenshots import FLAGS

from worker.mail.letters import Letterhead, Letters, samples

LANGUAGES = ("en", "de", "ar", "ja")
WAYS = {
    "light": ({"width": 720, "height": 400}, "light"),
    "dark": ({"width": 720, "height": 400}, "dark"),
    "narrow": ({"width": 320, "height": 400}, "light"),
    "narrow-dark": ({"width": 320, "height": 400}, "dark"),
}


def main(folder: Path) -> None:
    """Write each letter once in each language, and take its pictures."""
    letters = Letters(Letterhead("Acme Hiring", support_address="help@acme.example"))
    folder.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for way, (size, scheme) in WAYS.items():
            page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            for locale in LANGUAGES:
                for kind, email in dict(reversed(list(samples(locale)))).items():
                    page.set_content(letters.write(email).html)
                    page.screenshot(path=folder / f"{kind}-{locale}-{way}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
