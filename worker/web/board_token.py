"""The board's token where none is set: made once, and kept in a file that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from config.settings import Settings, SettingsError
from worker.host.embedded import naming
from worker.host.private import make_private, write_private

#: A token that is set has at least as many characters.
SHORTEST = 16


def file_of(data_dir: Path) -> Path:
    """Where the token is kept."""
    return data_dir / "board.token"


def with_board_token(settings: Settings) -> Settings:
    """The settings with a token; SettingsError if one has to be made and cannot be kept or read."""
    if settings.board_token is not None:
        return settings
    path = file_of(settings.data_dir)
    with naming(settings.data_dir):
        make_private(settings.data_dir)
        if not path.exists():
            _make(path)
        # A copy that was put back may have other rights.
        path.chmod(0o600)
        token = path.read_bytes().decode(errors="replace").strip()
    if len(token) < SHORTEST or not token.isascii():
        raise SettingsError(f"{path} holds no token: delete it, and another is made.")
    return settings.model_copy(update={"board_token": SecretStr(token)})


def _make(path: Path) -> None:
    """Put a new token there, unless another process was faster: then theirs stands."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    write_private(beside, f"{secrets.token_urlsafe(32)}\n".encode())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()
