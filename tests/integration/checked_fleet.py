"""A fleet for the doctor to check: healthy at first, then broken by a test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from socket import gethostname
from typing import Any

from cryptography.fernet import Fernet
from redis import Redis

from config.queues import Queues
from config.settings import Settings, load_settings
from sandbox.server import RunningSandbox
from tests.integration.ledgers import an_event
from worker.doctor.examination import CHECKS, examine
from worker.doctor.finding import Finding, Health
from worker.ledger.figures import announce
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.vault import Vault

KEY = Fernet.generate_key().decode()
#: Nothing listens here.
AWAY = "127.0.0.1:1"


@dataclass
class CheckedFleet:
    """A fleet's ledger and settings, healthy at first."""

    redis: Redis
    ledger: Ledger
    sandbox: RunningSandbox
    values: dict[str, Any]

    @property
    def prefix(self) -> str:
        """The prefix of its keys."""
        return self.ledger.prefix

    @property
    def settings(self) -> Settings:
        """The current settings."""
        return load_settings(**self.values)

    def findings(self, check: str | None = None) -> list[Finding]:
        """The doctor's findings, from one check or all."""
        return examine(self.settings, {check: CHECKS[check]} if check else CHECKS)

    def complaints(self, check: str | None = None) -> list[Finding]:
        """The findings that are not ok."""
        return [finding for finding in self.findings(check) if finding.health is not Health.OK]

    def forget_workers(self) -> None:
        """As if no worker had been seen for a while."""
        self.redis.delete(self.ledger.keys.workers)

    def has_workers(self, workers: Mapping[str, Iterable[str]]) -> None:
        """As if these had been seen just now and no others, each with some of our queues."""
        self.forget_workers()
        for name, queues in workers.items():
            announce(self.redis, self.ledger.keys, name, [f"{self.prefix}.{queue}" for queue in queues])

    def configure(self, name: str, value: object) -> None:
        """Change the server's configuration until the end of the test."""
        self.redis.config_set(name, str(value))


@contextmanager
def healthy_fleet(server: str, running: RunningSandbox, prefix: str, home: Path) -> Iterator[CheckedFleet]:
    """A fleet with a worker seen, a sweep made, and an account connected.

    Tests break the server, so it must be theirs alone.
    """
    running.control.reset()
    values = {
        "redis_url": server,
        "key_prefix": prefix,
        "data_dir": home,
        "vault_keys": KEY,
        "cronofy_client_id": "sandbox-client",
        "cronofy_client_secret": "sandbox-secret",
        "cronofy_api_url": running.url,
        "smtp_url": running.smtp_url,
        "application_name": "Acme Hiring",
        "escalation_email": "ops@example.org",
    }
    with Redis.from_url(server) as redis:
        redis.flushdb()
        ledger = Ledger(redis, prefix, Vault([KEY]), timedelta(days=1), 100)
        ledger.connect(Connecting("acc", Credentials("refresh", "access"), "us", None, None))
        ledger.track("acc", an_event(due=False))
        ledger.promote(1)
        fleet = CheckedFleet(redis, ledger, running, values)
        fleet.has_workers({f"worker@{gethostname()}": Queues._fields})
        yield fleet
        redis.config_set("appendonly", "yes")
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", "0")
        redis.replicaof("NO", "ONE")
