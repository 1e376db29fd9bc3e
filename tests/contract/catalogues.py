"""The sentences of what users read, as extracted from templates and code, and their catalogues.

``python -m tests.contract.catalogues`` brings the catalogues up to date: new sentences are added,
untranslated; those that are gone are dropped.
"""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from worker.mail.language import CATALOGUES

LETTERS, PAGES = "mail/templates/letters/**", "web/connecting/templates/**"
METHODS = [
    (LETTERS, "jinja2.ext:babel_extract"),
    (PAGES, "jinja2.ext:babel_extract"),
    ("mail/*.py", "python"),
    ("web/connecting/*.py", "python"),
]
_NOISE = re.compile(r'"(Project|Report|POT|PO-Rev|Last|Language-Team|Generated)')
KEYWORDS = {"gettext": None, "ngettext": (1, 2), "say": None, "N_": None}


def extracted() -> Catalog:
    """Every sentence that a letter, or a page that it leads to, may have, in English."""
    catalogue = Catalog()
    options = {LETTERS: {"trimmed": "true"}}
    for file, _, message, _, _ in extract_from_dir(CATALOGUES.parents[1], METHODS, options, KEYWORDS, ()):
        catalogue.add(message, locations=[(Path(file).as_posix(), 0)])
    return catalogue


def stored(path: Path) -> Catalog:
    """A catalogue as it is in the tree."""
    with path.open("rb") as file:
        return read_po(file, locale=path.stem)


def main() -> None:
    """Bring all catalogues up to date."""
    template = extracted()
    for path in sorted(CATALOGUES.glob("*.po")):
        catalogue = stored(path)
        catalogue.update(template, no_fuzzy_matching=True)
        catalogue.obsolete.clear()
        written = BytesIO()
        write_po(written, catalogue, width=110, sort_output=True, no_location=True)
        # Dates and names in the header would change with every run.
        lines = [line for line in written.getvalue().decode().splitlines() if not _NOISE.match(line)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
