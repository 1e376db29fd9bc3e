"""Compiles the letters' catalogues when the package is built; everything else is in pyproject.toml."""

from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCatalogues(build_py):
    """Each `.po` gets its `.mo` beside it, also for an editable installation."""

    def run(self) -> None:
        """Compile, then build as usual."""
        for source in sorted((Path(__file__).parent / "worker/mail/locales").glob("*.po")):
            with source.open("rb") as text, source.with_suffix(".mo").open("wb") as compiled:
                write_mo(compiled, read_po(text, locale=source.stem))
        super().run()


setup(cmdclass={"build_py": BuildWithCatalogues})
