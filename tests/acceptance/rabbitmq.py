"""A RabbitMQ for a test on this machine, if installed: on free ports, in its own directory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.waiting import wait_until

#: Debian's wrapper of the server command switches the user first.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
needs_rabbitmq = pytest.mark.skipif(
    not (SCRIPTS / "rabbitmq-server").exists() or shutil.which("epmd") is None,
    reason="RabbitMQ, as Debian installs it, is not on this machine",
)


class RabbitMQ:
    """One node; its data is in its directory and survives a restart."""

    def __init__(self, home: Path) -> None:
        home.mkdir(exist_ok=True)
        self._port, epmd = free_port(), free_port()
        self._log = home / "out.log"
        self._env = {
            **os.environ,
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"node{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(home / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd),
        }
        self._node: subprocess.Popen[bytes] | None = None
        # Erlang's port mapper daemon: otherwise the node would start one and leave it running.
        self._epmd = self._run("epmd", "-port", str(epmd), "-address", "127.0.0.1")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        self._node = self._run(str(SCRIPTS / "rabbitmq-server"))
        wait_until(self._listens, 60, what="RabbitMQ")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def control(self, *args: str) -> None:
        subprocess.run(
            [SCRIPTS / "rabbitmqctl", *args], env=self._env, check=True, capture_output=True, timeout=60
        )

    def close(self) -> None:
        self._end(signal.SIGTERM)
        self._epmd.kill()
        self._epmd.wait()

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                command, env=self._env, stdout=output, stderr=output, start_new_session=True
            )

    def _end(self, number: signal.Signals) -> None:
        """The node is a shell script and its children, in their own process group."""
        if self._node is not None:
            os.killpg(self._node.pid, number)
            self._node.wait(30)
            wait_until(lambda: not self._listens(), 30, what="RabbitMQ to end")
            self._node = None

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0


@contextmanager
def rabbitmq(home: Path) -> Iterator[RabbitMQ]:
    broker = RabbitMQ(home)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()
