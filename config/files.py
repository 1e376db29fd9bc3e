"""The files that settings come from: ``.env``, and one file for each secret.

pydantic-settings reads them, but passes over what it cannot read, and a setting that is passed over counts as
not set. So they are checked first.
"""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic_settings import SecretsSettingsSource


class UnreadableFileError(Exception):
    """A file of settings cannot be read; the message names it and repeats nothing of it."""


class SecretFiles(SecretsSettingsSource):
    """The directory of secrets, each in a file with the setting's name; an empty file counts as not set."""

    def __call__(self) -> dict[str, Any]:
        """Each setting that has a file; UnreadableFileError names a file that is no good."""
        if self.secrets_dir is not None:
            _check_secrets(Path(str(self.secrets_dir)).expanduser(), self.env_prefix)
        return {name: value for name, value in super().__call__().items() if value}


def file_names(directory: Path) -> list[str]:
    """The names of a directory's files; UnreadableFileError if it cannot be read."""
    try:
        return [path.name for path in directory.iterdir()]
    except OSError as error:
        raise _unreadable(directory, error) from None


def check_dotenv(path: Path, prefix: str) -> None:
    """Raise UnreadableFileError, with the line, if anything in the file would be passed over.

    `prefix` begins the names of our settings.
    """
    if not os.path.lexists(path):
        return
    for found in parse_stream(StringIO(_text(path))):
        statement = found.original.string
        ours = found.key is not None and found.key.upper().startswith(prefix)
        if (
            found.error
            # Such as NAME:value, which others' programs may make sense of.
            or (ours and (found.value is None or not str(found.key).isidentifier()))
            # Swallowed by a value whose quote is closed further down.
            or re.search(rf"\n\s*(export\s+)?{prefix}", statement.strip())
        ):
            blank = len(statement) - len(statement.lstrip())
            line = found.original.line + statement[:blank].count("\n")
            raise UnreadableFileError(
                f"{path}, line {line}, cannot be read: a line is NAME=value, and a quote must be closed."
            )


def _check_secrets(directory: Path, prefix: str) -> None:
    for name in sorted(file_names(directory)):
        if name.upper().startswith(prefix):
            path = directory / name
            if _text(path).startswith("\ufeff"):
                raise UnreadableFileError(f"{path} begins with a byte order mark: save it without one.")
            if directory.resolve() not in path.resolve().parents:
                raise UnreadableFileError(f"{path} is a link to outside of its directory: put a file there.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(path, error) from None
    except UnicodeDecodeError:
        raise UnreadableFileError(f"{path} cannot be read: it is not UTF-8 text.") from None


def _unreadable(path: Path, error: OSError) -> UnreadableFileError:
    return UnreadableFileError(f"{path} cannot be read: {error.strerror}.")
