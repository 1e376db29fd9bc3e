"""A Redis server for one test: it keeps its port and its data when it is killed and restarted."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from tests.certificates import Certificate
from tests.ports import free_port
from tests.waiting import wait_until
from worker.host.embedded import find_binary


def server_binary() -> str:
    """The server under test: the embedded one's, or what TEST_SERVER names."""
    return os.environ.get("TEST_SERVER") or find_binary()


class Server:
    """One server in a directory; `client` is a client of it that does not wait."""

    def __init__(
        self,
        home: Path,
        binary: str | None = None,
        password: str = "",
        tls: Certificate | None = None,
        env: Mapping[str, str] | None = None,
        **config: str,
    ) -> None:
        """`config`: directives of its configuration, with underscores; starts nothing yet."""
        self._env = env
        home.mkdir(parents=True)
        self._home = home
        self._binary = binary or server_binary()
        self.port = free_port()
        directives = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(home),
            "appendonly": "yes",
            # Everything acknowledged survives a kill.
            "appendfsync": "always",
            "save": '""',
            "maxmemory-policy": "noeviction",
            **{name.replace("_", "-"): value for name, value in config.items()},
        }
        if password:
            directives["requirepass"] = password
        if tls:
            files = {
                "tls-cert-file": str(tls.path),
                "tls-key-file": str(tls.key),
                "tls-ca-cert-file": str(tls.path),
            }
            directives |= {**files, "tls-auth-clients": "no", "port": "0", "tls-port": str(self.port)}
        lines = [f"{name} {value}" for name, value in directives.items()]
        (home / "server.conf").write_text("\n".join([*lines, ""]))
        self._tls = tls
        self.url = self.url_of("", password)
        self.client = Redis.from_url(self.url, socket_timeout=10)
        self._process: subprocess.Popen[bytes] | None = None

    def url_of(self, user: str, password: str) -> str:
        login = f"{user}:{password}@" if password else ""
        if self._tls is None:
            return f"redis://{login}127.0.0.1:{self.port}/0"
        return f"rediss://{login}127.0.0.1:{self.port}/0?ssl_ca_certs={self._tls.path}"

    def start(self) -> None:
        """Start it; returns once it takes commands, with all its data."""
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, str(self._home / "server.conf")], stdout=log, stderr=log, env=self._env
            )
        deadline = time.monotonic() + 15
        while not self._answers():
            assert self._process.poll() is None, (self._home / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a lost machine would."""
        assert self._process is not None
        # Callers' results unsubscribe when they are freed: not at a server that is gone.
        gc.collect()
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(5)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and answers nothing until the block ends."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def occupy(self) -> None:
        """Have somebody's script run on it, so that it answers every command with BUSY."""
        self.set(busy_reply_threshold=10)

        def run() -> None:
            with Redis.from_url(self.url) as client, suppress(RedisError):
                client.eval("while true do end", 0)

        Thread(target=run, daemon=True).start()
        wait_until(lambda: isinstance(self._refusal(), ResponseError), 5, 0.05, what="a busy server")

    def release(self) -> None:
        """End that script."""

        def ended() -> bool:
            with suppress(ResponseError):  # none runs
                self.client.script_kill()
            return self._refusal() is None

        wait_until(ended, 10, 0.1, what="the end of the script")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """It answers BUSY until the block ends."""
        self.occupy()
        try:
            yield
        finally:
            self.release()

    def _refusal(self) -> RedisError | None:
        try:
            self.client.ping()
        except RedisError as refusal:
            return refusal
        return None

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)

    def set(self, **config: Any) -> None:
        for name, value in config.items():
            self.client.config_set(name.replace("_", "-"), value)

    def _answers(self) -> bool:
        return self._refusal() is None


@contextmanager
def running_server(
    home: Path,
    binary: str | None = None,
    password: str = "",
    tls: Certificate | None = None,
    env: Mapping[str, str] | None = None,
    **config: str,
) -> Iterator[Server]:
    """Start a server in `home`; it ends with the block."""
    server = Server(home, binary, password, tls, env, **config)
    try:
        server.start()
        yield server
    finally:
        server.client.close()
        server.stop()
