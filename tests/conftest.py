"""Shared fixtures: one real Redis server for the whole run, and a separate ledger for each test."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import certifi
import pytest
import structlog
from cryptography.fernet import Fernet
from hypothesis import settings
from redis import Redis
from xdist.scheduler import LoadFileScheduling

from worker.broker.outages import BROKER, LEDGER
from worker.broker.redis_transport import Transport
from worker.host.embedded import embedded_server
from worker.ledger.ledger import Ledger
from worker.ledger.vault import Vault

#: The same examples in every run, however slow the machine is.
settings.register_profile("ours", max_examples=150, derandomize=True, deadline=None)
settings.load_profile("ours")


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Load the fault tests' plugin here: their own conftest is loaded too late for its options."""
    pluginmanager.import_plugin("tests.faults.record")


def pytest_configure() -> None:
    """Children must receive the Ctrl-C that tests send, even if pytest is a shell's background job.

    And they must find the program compiled, or each of several hundred compiles it for itself: a fifth of a
    second of CPU time.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


#: Files of tests/acceptance that share a fleet, which takes seconds to start.
OF_ONE_FLEET = frozenset(
    [
        "builtin_tasks",
        "commands",
        "dead_letters",
        "examples",
        "flower",
        "notifications",
        "operators",
        "outcome_task",
        "survival",
        "tokens",
    ]
)


class _ByFile(LoadFileScheduling):  # type: ignore[misc]
    """One process runs a file, or all files that share a fleet or a browser.

    To override this method is xdist's way of grouping tests; its marks have no effect with this pytest.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder, _, name = file.removesuffix(".py").rpartition("/test_")
        if folder == "tests/browser" or (folder == "tests/acceptance" and name in OF_ONE_FLEET):
            return folder
        return file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile | None:
    """How tests are shared out with `--dist loadfile`."""
    return _ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def _few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each HTTP client trusts one public authority, since reading them all takes as long as many a test."""
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("authorities") / "one.pem"
    file.write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(file))
        yield


@pytest.fixture(scope="session")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each test gets a working directory: pytest would read the names of all to make the next one."""
    return tmp_path_factory.mktemp("cwd")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, _elsewhere: Path) -> None:
    """Neither the developer's environment nor a .env file reaches a test."""
    monkeypatch.chdir(mkdtemp(dir=_elsewhere))
    for name in list(os.environ):
        if name.startswith(("RECONCILER_", "SSL_CERT_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _no_cached_loggers() -> Iterator[None]:
    """No module's logger outlives the configuration it was first used with.

    A cached logger keeps its first processors, so that `capture_logs` in a later test would miss its lines.
    """
    configure = structlog.configure

    def configure_uncached(**settings: Any) -> None:
        configure(**settings | {"cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", configure_uncached)
        yield


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    """What a test, or a command it runs in this process, configures of logging ends with the test."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level, raising = root.handlers, root.level, logging.raiseExceptions
    yield
    logging.disable(logging.NOTSET)
    logging.raiseExceptions = raising
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def _no_outage_from_before() -> None:
    """No outage of an earlier test goes on, during which our transport would take no messages."""
    for outage in (BROKER, LEDGER):
        outage.reason = None
    Transport.owed.clear()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server on a free port, with an append-only file."""
    with embedded_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of that server."""
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def vault() -> Vault:
    """A vault with one fresh key."""
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
def ledger(redis: Redis, prefix: str, vault: Vault) -> Ledger:
    """An empty ledger."""
    return Ledger(redis, prefix, vault, history_keep=timedelta(days=7), outcomes_keep=1000)
