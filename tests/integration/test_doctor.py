"""The doctor: a healthy fleet has no faults, and the checks are safe and quick."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from socket import gethostname
from typing import Any

import pytest

from config.queues import Queues
from config.settings import Settings, SettingsError, load_settings
from tests.integration.checked_fleet import AWAY, CheckedFleet
from tests.integration.served import serving
from tests.integration.test_relink_smtp import Inbox, check_login, mail_server
from tests.receivers import SECRET, receiving
from worker.doctor import examination
from worker.doctor.examination import CHECKS, examine, unreadable
from worker.doctor.finding import Finding, Health, ok
from worker.ledger.figures import read_figures


def test_a_healthy_fleet_has_nothing_wrong(fleet: CheckedFleet) -> None:
    """Every line is ok, and every check has one."""
    findings = fleet.findings()

    assert [finding for finding in findings if finding.health is not Health.OK] == []
    assert [finding.name for finding in findings] == [
        "settings",
        *("redis", "redis latency", "broker", "neighbours"),
        *("redis clock", "workers", "queues", "beat", "pause", "access tokens", "dead letters"),
        *(
            "vault keys",
            "cronofy",
            "mail",
            "user mail",
            "escalations",
            "data directory",
            "outcome URL",
            "webhook",
        ),
    ]
    assert not any(finding.fix for finding in findings)


def test_everything_missing_is_reported_at_once(fleet: CheckedFleet) -> None:
    """One line per setting; whatever needs them is skipped."""
    for name in ("cronofy_client_id", "vault_keys"):
        del fleet.values[name]
    fleet.values |= {"mail_from": "nobody", "smtp_url": "smtp://host/path"}

    findings = fleet.complaints()

    named = {f.what.split()[0].removeprefix("RECONCILER_") for f in findings if f.name == "settings"}
    assert named == {"CRONOFY_CLIENT_ID", "VAULT_KEYS", "MAIL_FROM", "SMTP_URL"}
    skipped = [f.name for f in findings if f.health is Health.SKIPPED]
    assert skipped == ["vault keys", "cronofy", "mail"]


def test_each_invalid_setting_is_reported() -> None:
    """One line per fault, without the values."""
    with pytest.raises(SettingsError) as raised:
        load_settings(grace="s3cret", api_share=7)

    findings = unreadable(raised.value)

    assert {f.what.split()[0] for f in findings} == {"RECONCILER_GRACE", "RECONCILER_API_SHARE"}
    assert {f.health for f in findings} == {Health.WRONG}
    assert "s3cret" not in str(findings)


#: What a role's host cannot do, the check that tries it, a queue whose tasks do without it, and how the check
#: ends where other hosts take the rest.
CONFINED: dict[str, tuple[dict[str, str | None], str, str, Health]] = {
    "write emails as files": (
        *({"smtp_url": None, "data_dir": __file__ + "/mail"}, "data directory", "intake", Health.OK),
    ),
    "reach the mail server": ({"smtp_url": f"smtp://{AWAY}"}, "mail", "looks", Health.WARNING),
    "reach Cronofy": ({"cronofy_api_url": f"http://{AWAY}"}, "cronofy", "mail", Health.WARNING),
}


@pytest.mark.parametrize(("values", "check", "queue", "elsewhere"), CONFINED.values(), ids=CONFINED)
def test_a_role_need_not_be_able_to_do_what_it_never_does(
    fleet: CheckedFleet, values: dict[str, Any], check: str, queue: str, elsewhere: Health
) -> None:
    """Not wrong where only other hosts' workers do it; wrong on a host that does, and where none does."""
    here = f"worker@{gethostname()}"
    fleet.values |= values
    fleet.has_workers({"worker@elsewhere": Queues._fields, here: [queue]})
    assert fleet.findings(check)[-1].health is elsewhere

    for workers in (
        {"worker@elsewhere": Queues._fields, here: Queues._fields},
        {"worker@elsewhere": [queue]},
    ):
        fleet.has_workers(workers)
        assert fleet.findings(check)[-1].health is Health.WRONG


def test_a_role_need_not_have_the_secrets_that_it_does_not_use(fleet: CheckedFleet) -> None:
    """Beat has neither the client nor a vault key: a warning each, as long as workers run elsewhere."""
    for name in ("cronofy_client_id", "vault_keys"):
        del fleet.values[name]
    fleet.has_workers({"worker@elsewhere": Queues._fields})
    assert [f.health for f in fleet.complaints() if f.name == "settings"] == [Health.WARNING] * 2
    assert Health.WRONG not in {finding.health for finding in fleet.findings()}

    fleet.forget_workers()
    assert [f.health for f in fleet.complaints() if f.name == "settings"] == [Health.WRONG] * 2


def test_a_login_that_is_refused_is_wrong_wherever_it_is_tried(fleet: CheckedFleet) -> None:
    """It would be refused on the host that sends mail, too."""
    fleet.has_workers({"worker@elsewhere": Queues._fields})
    with mail_server(Inbox(), authenticator=check_login, auth_require_tls=False) as port:
        fleet.values["smtp_url"] = f"smtp://user%40example.org:hunter3@127.0.0.1:{port}"

        assert fleet.findings("mail")[-1].health is Health.WRONG


def test_an_outage_of_redis_skips_what_needs_it(fleet: CheckedFleet) -> None:
    """Everything else is still checked."""
    fleet.values["redis_url"] = f"redis://{AWAY}/0"

    health = {finding.name: finding.health for finding in fleet.findings()}

    assert health["redis"] is Health.WRONG
    for name in ("workers", "queues", "beat", "pause", "vault keys", "cronofy"):
        assert health[name] is Health.SKIPPED
    assert health["mail"] is Health.OK


def test_cronofy_is_called_once_without_an_account(fleet: CheckedFleet) -> None:
    """One refresh with a made-up token, charged to the budget."""
    fleet.findings("cronofy")

    [request] = fleet.sandbox.control.requests()
    assert (request["path"], request["status"], request["sub"]) == ("/oauth/token", 400, None)
    [spent] = read_figures(fleet.redis, fleet.ledger.keys).spent
    assert (spent.client_id, spent.origin, spent.last_minute) == ("sandbox-client", fleet.sandbox.url, 1)


def test_cronofy_is_not_asked_during_a_pause(fleet: CheckedFleet) -> None:
    """A pause covers every call, including the doctor's."""
    fleet.ledger.set_paused(True)

    [finding] = fleet.complaints("cronofy")

    assert (finding.health, finding.what) == (Health.SKIPPED, "not asked while the fleet is paused")
    assert fleet.sandbox.control.requests() == []


def test_a_webhook_that_reaches_our_serve_is_ok(fleet: CheckedFleet) -> None:
    """It is probed without a made-up notification: none is counted as refused."""
    with serving(**fleet.values) as url:
        fleet.values["webhook_url"] = url
        [finding] = fleet.findings("webhook")[1:]

    assert (finding.health, finding.what) == (Health.OK, "answers")
    assert fleet.ledger.counters().get("notifications:bad_signature", 0) == 0


SKEWS = {"ahead": (90, "1 min 30 s ahead of"), "behind": (-7200, "2 h behind")}


@pytest.mark.parametrize(("seconds", "offset"), SKEWS.values(), ids=SKEWS)
def test_a_wrong_host_clock_is_reported(
    fleet: CheckedFleet, monkeypatch: pytest.MonkeyPatch, seconds: float, offset: str
) -> None:
    """By how much, and in which direction; the ledger does not depend on it, so it is a warning."""
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + seconds)

    [finding] = fleet.complaints("fleet")

    assert (finding.name, finding.health) == ("redis clock", Health.WARNING)
    assert finding.what == f"A clock is wrong: this host's is {offset} Redis's"


LOGINS = {
    "the right login": ("smtp://user%40example.org:hunter2%2F%3A@", None),
    "a wrong password": ("smtp://user%40example.org:hunter3@", "it answered 535 5.7.8 at login"),
    "no TLS": ("smtp+starttls://user%40example.org:hunter2%2F%3A@", "does not support what the SMTP URL"),
}


def test_that_nobody_gets_email_is_a_warning(fleet: CheckedFleet) -> None:
    """Without a mail server, letters are files."""
    del fleet.values["smtp_url"]

    [found] = fleet.complaints("mail")

    assert found.health is Health.WARNING
    assert "emails go to files" in found.what
    assert "reach nobody" in found.what
    assert found.fix == "set RECONCILER_SMTP_URL"


@pytest.mark.parametrize(("address", "complaint"), LOGINS.values(), ids=LOGINS)
def test_the_mail_server_is_tried_with_the_login_and_sent_nothing(
    fleet: CheckedFleet, address: str, complaint: str | None
) -> None:
    """Connect, log in, name the sender; without STARTTLS the login is not sent in plain text."""
    inbox = Inbox()
    with mail_server(inbox, authenticator=check_login, auth_require_tls=False) as port:
        fleet.values["smtp_url"] = f"{address}127.0.0.1:{port}"
        found = fleet.complaints("mail")

    assert bool(found) == bool(complaint)
    assert all(complaint in finding.what for finding in found if complaint)
    assert inbox.envelopes == []
    assert "hunter" not in str(found)


def test_a_hanging_check_does_not_delay_the_others(
    fleet: CheckedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its earlier findings are shown, then that it did not finish."""
    monkeypatch.setattr(examination, "DEADLINE_SECONDS", 1.0)

    def hanging(_: Settings) -> Iterator[Finding]:
        yield ok("slow", "begun")
        time.sleep(30)

    def failing(_: Settings) -> Iterator[Finding]:
        raise RuntimeError("s3cret")

    begun = time.monotonic()
    findings = examine(fleet.settings, {"slow": hanging, "odd": failing, "files": CHECKS["data directory"]})

    assert time.monotonic() - begun < 10
    assert [finding.name for finding in findings[1:]] == ["slow", "slow", "odd", "data directory"]
    assert [f.health for f in findings[1:]] == [Health.OK, Health.WRONG, Health.WRONG, Health.OK]
    assert "RuntimeError" in findings[3].what
    assert "s3cret" not in str(findings)


def test_a_server_that_does_not_answer_is_given_up_soon(fleet: CheckedFleet) -> None:
    """It accepts connections and says nothing: all checks still finish in time."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        fleet.values |= {
            "redis_url": f"redis://{address}/0",
            "broker_url": f"amqp://{address}//",
            "smtp_url": f"smtp://{address}",
            "cronofy_api_url": f"http://{address}",
        }
        begun = time.monotonic()
        health = {finding.name: finding.health for finding in fleet.findings()}

    assert time.monotonic() - begun < 2 * examination.DEADLINE_SECONDS
    assert health["redis"] is health["mail"] is health["broker"] is Health.WRONG


def test_whoever_takes_outcomes_is_reached_and_posted_nothing(fleet: CheckedFleet) -> None:
    """Any answer will do; nobody listening, and what was given up, are named, but not the address."""
    with receiving() as receiver:
        fleet.values |= {"outcome_url": f"{receiver.url}?token=s3cret", "outcome_secret": SECRET}
        assert fleet.complaints("outcome URL") == []
        dead = {"outcome": {}, "reason": "the receiver answered 500", "tries": 33, "at": 0}
        fleet.redis.hset(fleet.ledger.keys.outcomes_dead("url"), "1-1", json.dumps(dead))
        [given_up] = fleet.complaints("outcome URL")
        assert receiver.got == []
    fleet.redis.delete(fleet.ledger.keys.outcomes_dead("url"))

    [away] = fleet.complaints("outcome URL")

    assert (given_up.health, away.health) == (Health.WARNING, Health.WRONG)
    assert "1 outcome was given up" in given_up.what
    assert "cannot be reached" in away.what
    assert "s3cret" not in str([given_up, away])
