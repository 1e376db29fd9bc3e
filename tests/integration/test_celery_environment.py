"""Variables of another application's Celery reach neither our processes nor our commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackagePath, files
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from config.queues import Queues
from tests.acceptance.processes import Child, environment, run_command
from tests.waiting import wait_until
from worker.broker.environment import is_celerys
from worker.ledger.ledger import Ledger
from worker.ledger.vault import Vault


@dataclass(frozen=True, slots=True)
class Place:
    """Our own database on the server and another application's, and an environment that names both."""

    home: Path
    env: dict[str, str]
    ours: Redis
    theirs: Redis
    ledger: Ledger


@pytest.fixture
def place(redis_url: str, tmp_path: Path) -> Iterator[Place]:
    """Two empty databases, and every variable that might lead to the wrong one."""
    urls = [f"{redis_url.rpartition('/')[0]}/{number}" for number in (7, 9)]
    key = Fernet.generate_key().decode()
    env = environment(
        REDIS_URL=urls[0],
        VAULT_KEYS=key,
        CRONOFY_CLIENT_ID="id",
        CRONOFY_CLIENT_SECRET="client-secret",
        SWEEP_EVERY="1",
        DATA_DIR=str(tmp_path),
    )
    for name in ("BROKER", "BROKER_READ", "BROKER_WRITE"):
        env[f"CELERY_{name}_URL"] = urls[1]
    env |= {"CELERY_RESULT_BACKEND": urls[1], "BROKER_URL": urls[1], "RESULT_BACKEND": urls[1]}
    env |= {
        "APP": "billing.app",
        "LOADER": "billing",
        "CONFIG_MODULE": "billing",
        "DJANGO_SETTINGS_MODULE": "b",
    }
    env |= {"CELERY_CUSTOM_WORKER_POOL": "billing:Pool", "CELERY_LOADER": "b", "REMAP_SIGTERM": "SIGQUIT"}
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(Redis.from_url(url)) for url in urls)
        for redis in (ours, theirs):
            redis.flushdb()
            stack.callback(redis.flushdb)
        ledger = Ledger(ours, "reconciler", Vault([key]), timedelta(days=7), 1000)
        yield Place(tmp_path, env, ours, theirs, ledger)


def test_worker_and_beat_serve_our_broker(place: Place) -> None:
    """A sweep goes from one to the other, over the broker of our settings."""
    log = place.home / "log"
    children = [Child(place.home, place.env, log, role) for role in ("worker", "beat")]
    try:
        wait_until(lambda: place.ours.exists(place.ledger.keys.swept), 20, what="a sweep")
    finally:
        for child in children:
            child.end()

    assert place.theirs.keys() == []


def test_a_dead_letter_is_replayed_to_our_broker(place: Place) -> None:
    """It is erased here, so it must not go anywhere else."""
    place.ledger.dead_letters.keep("conferencing.track", "bad", (), {"sub": "acc"})

    run = run_command(place.home, place.env, "dead-letters", "replay", "--all")

    assert (run.returncode, len(place.ledger.dead_letters)) == (0, 0), run.stderr
    assert (place.ours.llen(Queues.of("reconciler").intake), place.theirs.keys()) == (1, [])


#: What cannot change where messages go or how a process of ours ends.
HARMLESS = {
    *("TERM", "ITERM_PROFILE", "NO_COLOR", "NUMBER_OF_PROCESSORS"),
    # Of transports that need them, or have no other way to be configured.
    *("SLMQ_ACCOUNT", "SL_USERNAME", "SL_API_KEY", "SLMQ_HOST", "SLMQ_PORT", "SLMQ_SECURE"),
    "PUBSUB_EMULATOR_HOST",
}
_READ = re.compile(r"(?:environ\.get\(|environ\[|getenv\(|envvar=)\s*['\"](\w+)['\"]")
_ASSIGNED = re.compile(r"environ\[['\"]\w+['\"]\] = ")


def modules_of(package: str) -> list[PackagePath]:
    """The Python files of an installed package."""
    return [file for file in files(package) or [] if file.suffix == ".py" and "contrib" not in file.parts]


@pytest.mark.parametrize("package", ["celery", "kombu", "billiard", "amqp"])
def test_every_variable_that_the_library_reads_is_dealt_with(package: str) -> None:
    """A new release that reads another one fails here."""
    texts = (Path(str(file.locate())).read_text(encoding="utf-8") for file in modules_of(package))
    text = "\n".join(_ASSIGNED.sub("", text) for text in texts)
    read = {name for name in _READ.findall(text) if not name.startswith("_")}

    assert sorted(name for name in read - HARMLESS if not is_celerys(name)) == []
    assert read or package == "amqp"
