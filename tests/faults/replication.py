"""A primary and its replica, which change places: by three sentinels, or behind one name."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from tests.certificates import Certificate
from tests.faults.server import Server, server_binary
from tests.ports import free_port
from tests.waiting import wait_until

SERVICE = "primary"


@dataclass(slots=True)
class Pair:
    """Two servers, of which one is the primary and the other its replica."""

    primary: Server
    replica: Server

    def swap(self) -> None:
        self.primary, self.replica = self.replica, self.primary

    def is_led_by(self, port: int | None) -> bool:
        """Whether this server is the primary, and the other one follows; a busy machine may have moved it."""
        if port == self.replica.port:
            self.swap()
        return self.is_followed()

    def is_followed(self) -> bool:
        """Whether the replica has everything that the primary has."""
        with suppress(RedisError):
            theirs: Any = self.replica.client.info("replication")
            linked = theirs["role"] == "slave" and theirs["master_link_status"] == "up"
            return bool(linked and theirs["master_port"] == self.primary.port)
        return False


@contextmanager
def replicated(
    home: Path, binary: str | None = None, password: str = "", tls: Certificate | None = None
) -> Iterator[Pair]:
    """Start both; the replica follows."""
    more = {"masterauth": password} if password else {}
    if tls:
        more["tls_replication"] = "yes"
    primary = Server(home / "one", binary, password, tls, None, **more)
    replica = Server(home / "two", binary, password, tls, None, **more, replicaof=f"127.0.0.1 {primary.port}")
    pair = Pair(primary, replica)
    try:
        primary.start()
        replica.start()
        wait_until(pair.is_followed, 20, what="a replica that follows")
        yield pair
    finally:
        for server in (primary, replica):
            server.client.close()
            server.stop()


@dataclass(slots=True)
class Sentinels:
    """Three sentinels that watch a pair."""

    ports: list[int]
    #: A client of all three.
    asked: Any
    tls: Certificate | None = None

    def url(self, login: str = "", sentinel_login: tuple[str, str] | None = None) -> str:
        """The setting; `login` ends with @ if there is one."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        options = [f"ssl_ca_certs={self.tls.path}"] if self.tls else []
        if sentinel_login:
            options += ["sentinel_username={}&sentinel_password={}".format(*sentinel_login)]
        scheme = "rediss+sentinel" if self.tls else "redis+sentinel"
        return f"{scheme}://{login}{hosts}/{SERVICE}/0?{'&'.join(options)}".rstrip("?")

    @property
    def celery_url(self) -> str:
        """As a caller's Celery takes it."""
        return ";".join(f"sentinel://127.0.0.1:{port}/0" for port in self.ports)

    def primary_port(self) -> int | None:
        """The port of the primary that they name."""
        with suppress(RedisError):
            return int(self.asked.discover_master(SERVICE)[1])
        return None

    def client(self) -> Redis:
        """A client of the primary that waits through a failover."""
        retry = Retry(ConstantBackoff(0.1), 300)
        client: Redis = self.asked.master_for(SERVICE, socket_timeout=10, retry=retry)
        return client


@contextmanager
def watched(
    home: Path, pair: Pair, binary: str | None = None, password: str = "", tls: Certificate | None = None
) -> Iterator[Sentinels]:
    """Start three sentinels; `password` is that of servers and sentinels."""
    ports = [free_port() for _ in range(3)]
    options: dict[str, Any] = {
        "socket_timeout": 1,
        "retry": Retry(NoBackoff(), 0),
        "password": password or None,
    }
    if tls:
        options |= {"ssl": True, "ssl_ca_certs": str(tls.path)}
    asked = Sentinel([("127.0.0.1", port) for port in ports], sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    sentinels = Sentinels(ports, asked, tls)
    with ExitStack() as stack:
        stack.callback(asked.close)
        for port in ports:
            stack.callback(_end, _sentinel(home / str(port), port, pair, binary, password, tls))
        wait_until(lambda: _agree(sentinels), 30, what="sentinels that know each other and the replica")
        yield sentinels


def _sentinel(
    home: Path, port: int, pair: Pair, binary: str | None, password: str, tls: Certificate | None
) -> subprocess.Popen[bytes]:
    home.mkdir(parents=True)
    lines = ["bind 127.0.0.1", f"dir {home}", f"port {0 if tls else port}"]
    if tls:
        lines += [f"tls-port {port}", f"tls-cert-file {tls.path}", f"tls-key-file {tls.key}"]
        lines += [f"tls-ca-cert-file {tls.path}", "tls-auth-clients no", "tls-replication yes"]
    lines += [
        f"sentinel monitor {SERVICE} 127.0.0.1 {pair.primary.port} 2",
        f"sentinel down-after-milliseconds {SERVICE} 2000",
        f"sentinel failover-timeout {SERVICE} 3000",
    ]
    if password:
        lines += [f"requirepass {password}", f"sentinel sentinel-pass {password}"]
        lines += [f"sentinel auth-pass {SERVICE} {password}"]
    config = home / "sentinel.conf"
    config.write_text("\n".join([*lines, ""]))
    with (home / "sentinel.log").open("wb") as log:
        return subprocess.Popen(
            [binary or server_binary(), str(config), "--sentinel"], stdout=log, stderr=log
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    process.wait(10)


def _agree(sentinels: Sentinels) -> bool:
    for each in sentinels.asked.sentinels:
        try:
            state = each.sentinel_masters()[SERVICE]
        except (RedisError, KeyError):
            return False
        if (state["num-other-sentinels"], state["num-slaves"]) != (2, 1):
            return False
    return True


class Name:
    """A port that leads to one server or the other; a connection stays where it was made."""

    def __init__(self, target: int) -> None:
        #: The port that new connections reach.
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            with suppress(OSError):
                key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _forward(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.2):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in {each.fileobj for each in self._selector.get_map().values()}:
                    self._pass_on(key.fileobj, key.data)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self.target), 2)
        except OSError:
            near.close()
            return
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _pass_on(self, source: Any, sink: Any) -> None:
        try:
            data = source.recv(65536)
            sink.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (source, sink):
                self._selector.unregister(end)
                end.close()
