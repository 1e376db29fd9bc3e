"""The doctor: each real fault has its line and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet

from config.settings import SettingsError
from tests.integration.checked_fleet import AWAY, CheckedFleet
from worker.cronofy.budget import Budget
from worker.doctor.examination import examine, unreadable
from worker.doctor.finding import Health, wrong
from worker.ledger.dead_letters import MOST
from worker.ledger.records import to_ms


def _refused_client(fleet: CheckedFleet) -> None:
    place = f"sandbox-client@{fleet.sandbox.url}"
    budget = Budget(fleet.redis, fleet.prefix, place, per_second=50, per_minute=500, share=1)
    budget.take()
    budget.refuse_client()


def _in_the_open(fleet: CheckedFleet) -> Path:
    home: Path = fleet.values["data_dir"]
    home.chmod(0o755)
    return home


def _mail_in_the_open(fleet: CheckedFleet) -> None:
    mail = _in_the_open(fleet) / "mail"
    mail.mkdir()
    mail.chmod(0o755)


def only(*queues: str) -> Callable[[CheckedFleet], None]:
    """One worker, which consumes only these of our queues."""
    return lambda fleet: fleet.has_workers({"one@host": queues})


def setting(**values: Any) -> Callable[[CheckedFleet], None]:
    """A fault in the settings."""
    return lambda fleet: fleet.values.update(values)


Spoil = Callable[[CheckedFleet], object]
#: How it is broken, the check that finds it, its health and name, words of the finding and of the fix.
FAULTS: dict[str, tuple[Spoil, str, Health, str, str, str]] = {
    "Redis is unreachable": (
        setting(redis_url=f"redis://:s3cret@{AWAY}/0"),
        *("redis", Health.WRONG, "redis", "Redis does not answer (ConnectionError)", "start the server"),
    ),
    "another Redis password": (
        lambda p: p.values.update(redis_url=p.values["redis_url"].replace("redis://:", "redis://:not")),
        *("redis", Health.WRONG, "redis", "AuthenticationError", "correct the user and the password"),
    ),
    "no append-only file": (
        lambda p: p.configure("appendonly", "no"),
        *("redis", Health.WRONG, "redis", "not kept on disk", "set appendonly yes"),
    ),
    "keys may be evicted": (
        lambda p: p.configure("maxmemory-policy", "allkeys-lru"),
        *("redis", Health.WRONG, "redis", "maxmemory-policy allkeys-lru", "set noeviction"),
    ),
    "memory is nearly full": (
        lambda p: p.configure("maxmemory", int(p.redis.info("memory")["used_memory"]) + 100_000),
        *("redis", Health.WRONG, "redis", "of maxmemory is used", "raise it"),
    ),
    "a replica": (
        lambda p: p.redis.replicaof("127.0.0.1", "1"),
        *("redis", Health.WRONG, "redis", "replica", "primary"),
    ),
    "the broker is unreachable": (
        setting(broker_url=f"amqp://user:s3cret@{AWAY}//"),
        *("broker", Health.WRONG, "broker", "broker does not answer", "RECONCILER_BROKER_URL"),
    ),
    "a Redis broker is unreachable": (
        setting(broker_url=f"redis://:s3cret@{AWAY}/0"),
        *("broker", Health.WRONG, "broker", "broker does not answer", "RECONCILER_BROKER_URL"),
    ),
    "no worker": (
        lambda p: p.forget_workers(),
        *("fleet", Health.WRONG, "workers", "No worker is running", "reconciler worker"),
    ),
    "messages that no worker takes": (
        lambda p: (only("mail", "looks", "urgent")(p), p.redis.rpush(f"{p.prefix}.intake", "m", "m")),
        *("fleet", Health.WRONG, "queues", ".intake, on which 2 messages wait", ".intake"),
    ),
    "a queue that no worker takes from": (
        only("urgent", "intake", "looks"),
        *("fleet", Health.WRONG, "queues", ".mail, on which 0 messages wait", ".mail"),
    ),
    "beat never ran": (
        lambda p: p.redis.delete(p.ledger.keys.swept),
        *("fleet", Health.WRONG, "beat", "No sweeps are made: there was none yet", "reconciler beat"),
    ),
    "beat is late": (
        lambda p: p.redis.set(p.ledger.keys.swept, to_ms(p.ledger.now()) - 60_000),
        *("fleet", Health.WRONG, "beat", "No sweeps are made: the last one was 1 min ago", "reconciler beat"),
    ),
    "a pause": (
        lambda p: p.ledger.set_paused(True),
        *("fleet", Health.WARNING, "pause", "An operator paused the fleet", "reconciler resume"),
    ),
    "dead letters": (
        lambda p: p.ledger.dead_letters.keep("conferencing.track", "bad", (), {}),
        *("fleet", Health.WARNING, "dead letters", "1 letter", "reconciler dead-letters"),
    ),
    "no room for dead letters": (
        lambda p: [p.redis.xadd(p.ledger.keys.dead_letters, {"x": "x"}) for _ in range(MOST)],
        *("fleet", Health.WRONG, "dead letters", "no room for more dead letters", "dead-letters"),
    ),
    "another vault key": (
        setting(vault_keys=Fernet.generate_key().decode()),
        *("vault keys", Health.WRONG, "vault keys", "1 of 1 sealed value", "RECONCILER_VAULT_KEYS"),
    ),
    "the running fleet's client was refused": (
        _refused_client,
        *("fleet", Health.WRONG, "client", "refuses our client", "restart the workers"),
    ),
    "a refused client": (
        setting(cronofy_client_secret="wrong"),
        *("cronofy", Health.WRONG, "cronofy", "refuses our client", "RECONCILER_CRONOFY_CLIENT_SECRET"),
    ),
    "an old client secret": (
        setting(cronofy_client_secret="sandbox-secret,old"),
        *("cronofy", Health.WARNING, "cronofy", "1 of 2 client secrets", "drop the old one"),
    ),
    "Cronofy is unreachable": (
        setting(cronofy_api_url=f"http://{AWAY}"),
        *("cronofy", Health.WRONG, "cronofy", "could not be reached", "proxies"),
    ),
    "Cronofy is down": (
        lambda p: p.sandbox.control.add_fault("status", match={"path_prefix": "/oauth"}, status=503),
        *("cronofy", Health.WRONG, "cronofy", "answered 503", "status page"),
    ),
    "the mail server is unreachable": (
        setting(smtp_url=f"smtp://{AWAY}"),
        *("mail", Health.WRONG, "mail", "refused the connection", "RECONCILER_SMTP_URL"),
    ),
    "a data directory that is a file": (
        lambda p: p.values.update(smtp_url=None, data_dir=__file__ + "/mail"),
        *("data directory", Health.WRONG, "data directory", "is not writable", "RECONCILER_DATA_DIR"),
    ),
    "kept mail that others may read": (
        _mail_in_the_open,
        *("data directory", Health.WARNING, "data directory", "may look into", "chmod 700 "),
    ),
    "an embedded server's data that others may read": (
        lambda p: (_in_the_open(p) / "embedded.conf").touch(),
        *("data directory", Health.WARNING, "data directory", "may look into", "chmod 700 "),
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


@pytest.mark.parametrize(("spoil", "check", "health", "name", "what", "fix"), FAULTS.values(), ids=FAULTS)
def test_a_fault_has_its_line_and_its_fix(
    fleet: CheckedFleet, spoil: Spoil, check: str, health: Health, name: str, what: str, fix: str
) -> None:
    """One line says what is wrong and what to do, and quotes no secret."""
    spoil(fleet)

    [finding] = fleet.complaints(check)

    assert (finding.name, finding.health) == (name, health)
    assert what in finding.what
    assert fix in finding.fix
    assert "s3cret" not in str(finding)


USER, PASSWORD = "planted-user", "planted-passw0rd"
LOGIN = f"{USER}:{PASSWORD}"
#: URLs with a login, for servers that are away, that answer, and for more than one server.
LOGINS: dict[str, dict[str, Any]] = {
    "Redis is away": {"redis_url": f"redis://{LOGIN}@{AWAY}/0"},
    "sentinels are away": {
        "redis_url": f"redis+sentinel://{LOGIN}@{AWAY}/mymaster/0"
        f"?sentinel_username={USER}&sentinel_password={PASSWORD}"
    },
    "Redis is another": {"redis_url": f"redis://{LOGIN}@HERE/0"},
    "the broker is away": {"broker_url": f"amqp://{LOGIN}@{AWAY}//"},
    "brokers are away": {"broker_url": f"amqp://{LOGIN}@{AWAY}//;amqp://{LOGIN}@{AWAY}//"},
    "a Redis broker is away": {"broker_url": f"redis://{LOGIN}@{AWAY}/0"},
    "a Redis broker is another": {"broker_url": f"redis://{LOGIN}@HERE/0"},
    "Cronofy is away": {"cronofy_api_url": f"http://{LOGIN}@{AWAY}"},
    "Cronofy is the sandbox": {"cronofy_api_url": f"http://{LOGIN}@SANDBOX"},
    "the mail server is away": {"smtp_url": f"smtp+starttls://{LOGIN}@{AWAY}"},
    "the webhook is away": {"webhook_url": f"http://{LOGIN}@{AWAY}"},
    "the webhook is the sandbox": {"webhook_url": f"http://{LOGIN}@SANDBOX"},
    "a user and a host only": {"cronofy_api_url": f"http://{PASSWORD}@{AWAY}"},
}


@pytest.mark.parametrize("urls", LOGINS.values(), ids=LOGINS)
def test_no_finding_shows_the_login_of_a_url(fleet: CheckedFleet, urls: dict[str, Any]) -> None:
    """Neither user nor password, whatever answers there, or where settings do not load."""
    here = urlsplit(fleet.values["redis_url"]).netloc.rpartition("@")[2]
    sandbox = urlsplit(fleet.sandbox.url).netloc
    fleet.values |= {n: url.replace("HERE", here).replace("SANDBOX", sandbox) for n, url in urls.items()}

    try:
        findings = fleet.findings()
    except SettingsError as error:
        findings = unreadable(error)

    assert findings
    assert [found for found in findings if USER in str(found) or PASSWORD in str(found)] == []


def test_a_login_is_masked_in_any_finding(fleet: CheckedFleet) -> None:
    """Also by a check that knows no better, such as one that repeats an error's words."""
    findings = examine(
        fleet.settings, {"x": lambda _: [wrong("x", f"http://{LOGIN}@host", f"at a://{USER}@b")]}
    )

    [found] = [found for found in findings if found.name == "x"]
    assert (found.what, found.fix) == ("http://***@host", "at a://***@b")
