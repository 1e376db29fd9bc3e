"""The doctor: each fault, made for real, has its line and its mend; a healthy fleet has none."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from config.celery import INTAKE, LOOKS, MAIL, QUEUES, URGENT
from config.settings import Settings, SettingsError, load_settings
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.integration.test_ledger_leases import an_event
from tests.integration.test_relink_smtp import Inbox, check_login, free_port, mail_server
from worker.embedded import embedded_server
from worker.ledger.ledger import Credentials, Ledger
from worker.ledger.presence import announce
from worker.ledger.records import to_ms
from worker.ledger.vault import Vault
from worker.operations.doctor import examination
from worker.operations.doctor.examination import CHECKS, examine, unreadable
from worker.operations.doctor.finding import Finding, Health, ok

KEY = Fernet.generate_key().decode()
AWAY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for these tests alone, since they spoil its configuration."""
    with embedded_server(tmp_path_factory.mktemp("doctor")) as url:
        yield url


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """A sandbox without limits."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0)) as sandbox:
        yield sandbox


@dataclass
class Patient:
    """A fleet's ledger and settings; at first all is well with it."""

    redis: Redis
    ledger: Ledger
    sandbox: RunningSandbox
    values: dict[str, Any]

    @property
    def prefix(self) -> str:
        """Of its keys."""
        return self.ledger.prefix

    @property
    def settings(self) -> Settings:
        """As they are now."""
        return load_settings(**self.values)

    def findings(self, check: str | None = None) -> list[Finding]:
        """What the doctor finds, of one check or in all."""
        return examine(self.settings, {check: CHECKS[check]} if check else CHECKS)

    def complaints(self, check: str | None = None) -> list[Finding]:
        """The findings that are not as they should be."""
        return [finding for finding in self.findings(check) if finding.health is not Health.OK]

    def configure(self, name: str, value: object) -> None:
        """Change the server's configuration until the test's end."""
        self.redis.config_set(name, str(value))


@pytest.fixture
def patient(server: str, running: RunningSandbox, prefix: str, tmp_path: Path) -> Iterator[Patient]:
    """A healthy fleet: a worker was seen, a sweep was made, an account is connected."""
    running.control.reset()
    values = {
        "redis_url": server,
        "key_prefix": prefix,
        "data_dir": tmp_path,
        "vault_keys": KEY,
        "cronofy_client_id": "sandbox-client",
        "cronofy_client_secret": "sandbox-secret",
        "cronofy_api_url": running.url,
        "smtp_url": running.smtp_url,
    }
    with Redis.from_url(server) as redis:
        redis.flushdb()
        ledger = Ledger(redis, prefix, Vault([KEY]), timedelta(days=1), 100)
        ledger.connect("acc", Credentials("refresh", "access"), "us", None, None)
        ledger.track("acc", an_event(due=False))
        ledger.promote(1)
        announce(redis, prefix, "worker@host", QUEUES)
        yield Patient(redis, ledger, running, values)
        redis.config_set("appendonly", "yes")
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", "0")
        redis.replicaof("NO", "ONE")


def test_a_healthy_fleet_has_nothing_wrong(patient: Patient) -> None:
    """Every line is ok, and each concern has one."""
    findings = patient.findings()

    assert [finding for finding in findings if finding.health is not Health.OK] == []
    assert [finding.name for finding in findings] == [
        "settings",
        *("redis", "redis latency", "redis clock", "broker"),
        *("workers", "queues", "beat", "pause", "dead letters"),
        *("vault keys", "cronofy", "mail", "data directory", "webhook"),
    ]
    assert not any(finding.mend for finding in findings)


def _forget_workers(patient: Patient) -> None:
    patient.redis.delete(f"{patient.prefix}:workers")


def _only_mail_worker(patient: Patient) -> None:
    _forget_workers(patient)
    announce(patient.redis, patient.prefix, "mail@host", [MAIL, LOOKS, URGENT])
    patient.redis.rpush(INTAKE, "m", "m")


def _late_beat(patient: Patient) -> None:
    patient.redis.set(f"{patient.prefix}:swept", to_ms(patient.ledger.now()) - 60_000)


def _refused_client(patient: Patient) -> None:
    patient.values["cronofy_client_secret"] = "wrong"


def _old_secret(patient: Patient) -> None:
    patient.values["cronofy_client_secret"] = "sandbox-secret,old"


def _no_settings(patient: Patient) -> None:
    for name in ("cronofy_client_id", "vault_keys"):
        del patient.values[name]
    patient.values |= {"mail_from": "nobody", "smtp_url": "smtp://host/path"}


def _full(patient: Patient) -> None:
    patient.configure("maxmemory", int(patient.redis.info("memory")["used_memory"]) + 100_000)


def setting(**values: Any) -> Callable[[Patient], None]:
    """A fault that is one of the settings'."""
    return lambda patient: patient.values.update(values)


Spoil = Callable[[Patient], object]
#: What is spoilt, the check that finds it, the health, the name, words of what is said, words of the mend.
FAULTS: dict[str, tuple[Spoil, str, Health, str, str, str]] = {
    "Redis is away": (
        setting(redis_url=f"redis://:s3cret@{AWAY}/0"),
        *("redis", Health.WRONG, "redis", "cannot be used (ConnectionError)", "start the server"),
    ),
    "no append-only file": (
        lambda p: p.configure("appendonly", "no"),
        *("redis", Health.WRONG, "redis", "nothing is kept on disk", "set appendonly yes"),
    ),
    "keys may be evicted": (
        lambda p: p.configure("maxmemory-policy", "allkeys-lru"),
        *("redis", Health.WRONG, "redis", "maxmemory-policy allkeys-lru", "set noeviction"),
    ),
    "memory is nearly full": (
        _full,
        *("redis", Health.WRONG, "redis", "of maxmemory are used", "raise it"),
    ),
    "a replica": (
        lambda p: p.redis.replicaof("127.0.0.1", "1"),
        *("redis", Health.WRONG, "redis", "replica", "primary"),
    ),
    "the broker is away": (
        setting(broker_url=f"amqp://user:s3cret@{AWAY}//"),
        *("broker", Health.WRONG, "broker", "cannot be used", "RECONCILER_BROKER_URL"),
    ),
    "a Redis broker is away": (
        setting(broker_url=f"redis://:s3cret@{AWAY}/0"),
        *("broker", Health.WRONG, "broker", "cannot be used", "RECONCILER_BROKER_URL"),
    ),
    "no worker": (
        _forget_workers,
        *("fleet", Health.WRONG, "workers", "none seen", "reconciler worker"),
    ),
    "messages that no worker takes": (
        _only_mail_worker,
        *("fleet", Health.WRONG, "queues", f"2 messages on {INTAKE}", f"-Q {INTAKE}"),
    ),
    "beat never ran": (
        lambda p: p.redis.delete(f"{p.prefix}:swept"),
        *("fleet", Health.WRONG, "beat", "never been a sweep", "reconciler beat"),
    ),
    "beat is late": (
        _late_beat,
        *("fleet", Health.WRONG, "beat", "1 min ago, and one is due every 5 s", "reconciler beat"),
    ),
    "a pause": (
        lambda p: p.ledger.set_paused(True),
        *("fleet", Health.WARNING, "pause", "an operator paused", "reconciler resume"),
    ),
    "dead letters": (
        lambda p: p.redis.xadd(f"{p.prefix}:dead-letters", {"letter": b""}),
        *("fleet", Health.WARNING, "dead letters", "1 letter", "reconciler dead-letters"),
    ),
    "another vault key": (
        setting(vault_keys=Fernet.generate_key().decode()),
        *("vault keys", Health.WRONG, "vault keys", "1 of 1 sealed value", "RECONCILER_VAULT_KEYS"),
    ),
    "a refused client": (
        _refused_client,
        *("cronofy", Health.WRONG, "cronofy", "refuses our client", "RECONCILER_CRONOFY_CLIENT_SECRET"),
    ),
    "an old client secret": (
        _old_secret,
        *("cronofy", Health.WARNING, "cronofy", "1 of 2 client secrets", "drop the old one"),
    ),
    "Cronofy is away": (
        setting(cronofy_api_url=f"http://{AWAY}"),
        *("cronofy", Health.WRONG, "cronofy", "could not be reached", "proxies"),
    ),
    "Cronofy is down": (
        lambda p: p.sandbox.control.add_fault("status", match={"path_prefix": "/oauth"}, status=503),
        *("cronofy", Health.WRONG, "cronofy", "answered 503", "status page"),
    ),
    "the mail server is away": (
        setting(smtp_url=f"smtp://{AWAY}"),
        *("mail", Health.WRONG, "mail", "refused the connection", "RECONCILER_SMTP_URL"),
    ),
    "a data directory that is a file": (
        lambda p: p.values.update(smtp_url=None, data_dir=__file__ + "/mail"),
        *("data directory", Health.WRONG, "data directory", "cannot be written", "RECONCILER_DATA_DIR"),
    ),
    "a webhook that leads elsewhere": (
        lambda p: p.values.update(webhook_url=p.sandbox.url),
        *("webhook", Health.WRONG, "webhook", "answers 404", "reconciler serve"),
    ),
    "a webhook out of reach": (
        setting(webhook_url=f"http://{AWAY}"),
        *("webhook", Health.WARNING, "webhook", "cannot be reached", "reconciler serve"),
    ),
    "a dry run": (
        setting(dry_run=True),
        *("webhook", Health.WARNING, "settings", "dry run", "RECONCILER_DRY_RUN"),
    ),
}


@pytest.mark.parametrize(("spoil", "check", "health", "name", "what", "mend"), FAULTS.values(), ids=FAULTS)
def test_a_fault_has_its_line_and_its_mend(
    patient: Patient, spoil: Spoil, check: str, health: Health, name: str, what: str, mend: str
) -> None:
    """One line says what is wrong and what to do, and quotes no secret."""
    spoil(patient)

    [finding] = patient.complaints(check)

    assert (finding.name, finding.health) == (name, health)
    assert what in finding.what
    assert mend in finding.mend
    assert "s3cret" not in str(finding)


def test_all_that_is_missing_is_told_at_once(patient: Patient) -> None:
    """A line for each setting, and what needs them is skipped."""
    _no_settings(patient)

    findings = patient.complaints()

    said = {f.what.split()[0] for f in findings if f.name == "settings"}
    assert said == {
        "RECONCILER_CRONOFY_CLIENT_ID",
        "RECONCILER_VAULT_KEYS",
        "RECONCILER_MAIL_FROM",
        "RECONCILER_SMTP_URL",
    }
    skipped = [f.name for f in findings if f.health is Health.SKIPPED]
    assert skipped == ["vault keys", "cronofy", "mail"]


def test_settings_that_do_not_load_are_told_each_by_itself() -> None:
    """One line for each fault, without the values."""
    with pytest.raises(SettingsError) as raised:
        load_settings(grace="s3cret", api_share=7)

    findings = unreadable(raised.value)

    assert {f.what.split()[0] for f in findings} == {"RECONCILER_GRACE", "RECONCILER_API_SHARE"}
    assert {f.health for f in findings} == {Health.WRONG}
    assert "s3cret" not in str(findings)


def test_an_outage_of_redis_skips_what_needs_it(patient: Patient) -> None:
    """The rest is looked at all the same."""
    patient.values["redis_url"] = f"redis://{AWAY}/0"

    health = {finding.name: finding.health for finding in patient.findings()}

    assert health["redis"] is Health.WRONG
    for name in ("workers", "queues", "beat", "pause", "vault keys", "cronofy"):
        assert health[name] is Health.SKIPPED
    assert health["mail"] is Health.OK


def test_cronofy_is_asked_once_and_spends_no_account(patient: Patient) -> None:
    """One refresh with a token that nobody has, paid from the budget."""
    patient.findings("cronofy")

    [request] = patient.sandbox.control.requests()
    assert (request["path"], request["status"], request["sub"]) == ("/oauth/token", 400, None)
    [budget] = patient.redis.smembers(f"{patient.prefix}:budgets")
    assert patient.redis.zcard(budget) == 1


def test_cronofy_is_not_asked_during_a_pause(patient: Patient) -> None:
    """A pause means every call, the doctor's too."""
    patient.ledger.set_paused(True)

    [finding] = patient.complaints("cronofy")

    assert (finding.health, finding.what) == (Health.SKIPPED, "not asked while the fleet is paused")
    assert patient.sandbox.control.requests() == []


def test_what_the_fleet_was_refused_is_told_beside_what_is_found_now(patient: Patient) -> None:
    """Workers keep their settings until they are started again, so both are said."""
    patient.findings("cronofy")
    [budget] = patient.redis.scan_iter(f"{patient.prefix}:budget:*@*{patient.sandbox.url}")
    patient.redis.set(budget + b":refused", 1)

    [finding] = patient.complaints()

    assert (finding.name, finding.health) == ("client", Health.WRONG)
    assert "start the workers again" in finding.mend


LOGINS = {
    "the right login": ("user%40example.org:hunter2%2F%3A", None),
    "a wrong password": ("user%40example.org:hunter3", "need mending: it answered 535 at login"),
}


@pytest.mark.parametrize(("login", "complaint"), LOGINS.values(), ids=LOGINS)
def test_the_mail_server_is_tried_with_the_login_and_sent_nothing(
    patient: Patient, login: str, complaint: str | None
) -> None:
    """Connect, log in, do nothing."""
    inbox = Inbox()
    with mail_server(inbox, authenticator=check_login, auth_require_tls=False) as port:
        patient.values["smtp_url"] = f"smtp://{login}@127.0.0.1:{port}"
        found = patient.complaints("mail")

    assert [complaint in finding.what for finding in found if complaint] == [True] * len(found)
    assert bool(found) == bool(complaint)
    assert inbox.envelopes == []
    assert "hunter" not in str(found)


def test_tls_that_is_not_offered_is_told(patient: Patient) -> None:
    """A server without STARTTLS is not given the login in clear."""
    with mail_server(Inbox()) as port:
        patient.values["smtp_url"] = f"smtp+starttls://127.0.0.1:{port}"
        [finding] = patient.complaints("mail")

    assert "does not offer what the SMTP URL asks for" in finding.what


def test_a_queue_that_nobody_takes_from_is_told_before_messages_wait(patient: Patient) -> None:
    """A warning while it is empty."""
    _forget_workers(patient)
    announce(patient.redis, patient.prefix, "some@host", set(QUEUES) - {MAIL})

    [finding] = patient.complaints("fleet")

    assert (finding.name, finding.health) == ("queues", Health.WARNING)
    assert MAIL in finding.what


def test_a_check_that_hangs_holds_up_no_other(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it found before is told, then that it does not end."""
    monkeypatch.setattr(examination, "DEADLINE_SECONDS", 1.0)

    def hanging(_: Settings) -> Iterator[Finding]:
        yield ok("slow", "begun")
        time.sleep(30)

    def failing(_: Settings) -> Iterator[Finding]:
        raise RuntimeError("s3cret")

    begun = time.monotonic()
    findings = examine(patient.settings, {"slow": hanging, "odd": failing, "files": CHECKS["data directory"]})

    assert time.monotonic() - begun < 10
    assert [(f.name, f.health) for f in findings[1:]] == [
        ("slow", Health.OK),
        ("slow", Health.WRONG),
        ("odd", Health.WRONG),
        ("data directory", Health.OK),
    ]
    assert "RuntimeError" in findings[3].what
    assert "s3cret" not in str(findings)


def test_a_server_that_does_not_answer_is_given_up_soon(patient: Patient) -> None:
    """One that takes connections and says nothing: the whole examination is over in time."""
    with socket.create_server(("127.0.0.1", free_port())) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        patient.values |= {
            "redis_url": f"redis://{address}/0",
            "broker_url": f"amqp://{address}//",
            "smtp_url": f"smtp://{address}",
            "cronofy_api_url": f"http://{address}",
        }
        begun = time.monotonic()
        health = {finding.name: finding.health for finding in patient.findings()}

    assert time.monotonic() - begun < 2 * examination.DEADLINE_SECONDS
    assert health["redis"] is health["mail"] is health["broker"] is Health.WRONG
