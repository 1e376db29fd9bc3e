"""The token that is made where none is set: kept for its owner alone, shown to a person, and not logged."""

from __future__ import annotations

import json
import os
import pty
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet

from config.settings import SettingsError, load_settings
from tests.acceptance.prepared import Prepared
from tests.acceptance.processes import environment
from tests.integration.served import is_healthy
from tests.ports import free_port
from tests.waiting import wait_until
from worker.web.board_token import file_of, with_board_token


def made(home: Path) -> str:
    token = with_board_token(load_settings(data_dir=home)).board_token
    assert token is not None
    return token.get_secret_value()


def test_it_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The next start has the same one, and takes back rights that a copy may have got."""
    token, file = made(tmp_path / "data"), file_of(tmp_path / "data")
    file.chmod(0o644)

    assert made(tmp_path / "data") == token
    assert len(token) >= 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["board.token"]


def test_one_that_is_set_is_not_kept(tmp_path: Path) -> None:
    with_board_token(load_settings(data_dir=tmp_path / "data", board_token="a-token-that-is-set"))

    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_a_file_without_a_token_is_named(tmp_path: Path, content: bytes) -> None:
    """Nothing else is put in its place."""
    file_of(tmp_path).write_bytes(content)

    with pytest.raises(SettingsError, match=r"board\.token holds no token"):
        made(tmp_path)
    assert file_of(tmp_path).read_bytes() == content


@contextmanager
def serve(home: Path, redis_url: str, output: int, **settings: str) -> Iterator[str]:
    """The command, without a token, both of its outputs going there; yields its URL."""
    port = free_port()
    env = environment(
        REDIS_URL=redis_url,
        VAULT_KEYS=Fernet.generate_key().decode(),
        CRONOFY_CLIENT_ID="client",
        CRONOFY_CLIENT_SECRET="secret",
        DATA_DIR=str(home / "data"),
        **settings,
    )
    running = Prepared(home, env, ["serve", "--port", str(port)], {1: output, 2: output})
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_healthy(url), 30, 0.1, what="serve to answer")
        yield url
    finally:
        running.terminate()
        running.wait(20)


def test_a_person_at_a_terminal_is_shown_a_link(redis_url: str, tmp_path: Path) -> None:
    """The token follows a #, so it goes into no request and no proxy's log."""
    ours, theirs = pty.openpty()
    try:
        with serve(tmp_path, redis_url, theirs) as url:
            shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)

    [link] = re.findall(r"http://\S+", shown)
    assert link == f"{url}/board/sign-in#{file_of(tmp_path / 'data').read_text().strip()}"


def test_a_log_does_not_get_the_token(redis_url: str, tmp_path: Path) -> None:
    """Output that is no terminal says only where it is kept; there it opens the board."""
    log = tmp_path / "log"
    with log.open("wb") as output, serve(tmp_path, redis_url, output.fileno()) as url:
        token = file_of(tmp_path / "data").read_text().strip()
        bearer = {"Authorization": f"Bearer {token}"}
        opened = httpx.get(url, headers=bearer, trust_env=False).status_code
    lines = [json.loads(line) for line in log.read_text().splitlines()]

    assert opened == 200
    assert token not in log.read_text()
    assert [line["file"] for line in lines if line["event"] == "serve.token_kept"] == [
        str(file_of(tmp_path / "data"))
    ]


def test_the_webhook_is_served_where_no_token_can_be_kept(redis_url: str, tmp_path: Path) -> None:
    """The board is then open to nobody, and the log says why."""
    (tmp_path / "data").write_text("not a directory")
    log = tmp_path / "log"
    with log.open("wb") as output, serve(tmp_path, redis_url, output.fileno()) as url:
        status = httpx.get(url, trust_env=False).status_code
    [said] = [json.loads(line) for line in log.read_text().splitlines() if "serve.unread" in line]

    assert status == 401
    assert str(tmp_path / "data") in said["reason"]
