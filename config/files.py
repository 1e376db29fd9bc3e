"""The files that settings come from: ``.env``, and one file for each secret.

What is passed over would count as not set, so anything that cannot be read is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream


class UnreadableFileError(Exception):
    """A file of settings cannot be read; the message names it and repeats nothing of it."""


def read_secrets(directory: Path, prefix: str) -> dict[str, str]:
    """What is in each file whose name begins with `prefix`; UnreadableFileError names one that is no good."""
    found = {}
    for name in sorted(file_names(directory)):
        if name.upper().startswith(prefix):
            path = directory / name
            text = _text(path)
            if text.startswith("\ufeff"):
                raise UnreadableFileError(f"{path} begins with a byte order mark: save it without one.")
            if directory.resolve() not in path.resolve().parents:
                raise UnreadableFileError(f"{path} is a link to outside of its directory: put a file there.")
            found[name] = text.strip()
    return found


def file_names(directory: Path) -> list[str]:
    """The names of a directory's files; UnreadableFileError if it cannot be read."""
    try:
        return [path.name for path in directory.iterdir()]
    except OSError as error:
        raise _unreadable(directory, error) from None


def read_dotenv(path: Path, prefix: str) -> Mapping[str, str | None]:
    """What the file sets, if there is one; UnreadableFileError has the line of what would be passed over.

    `prefix` begins the names of our settings.
    """
    if not os.path.lexists(path):
        return {}
    text = _text(path)
    for found in parse_stream(StringIO(text)):
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
    return dotenv_values(stream=StringIO(text))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(path, error) from None
    except UnicodeDecodeError:
        raise UnreadableFileError(f"{path} cannot be read: it is not UTF-8 text.") from None


def _unreadable(path: Path, error: OSError) -> UnreadableFileError:
    return UnreadableFileError(f"{path} cannot be read: {error.strerror}.")
