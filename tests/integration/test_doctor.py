"""The doctor: a healthy fleet has no faults, and the checks are safe and quick."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from config.settings import Settings, SettingsError, load_settings
from tests.integration.patient import AWAY, Patient
from tests.integration.served import serving
from tests.integration.test_relink_smtp import Inbox, check_login, mail_server
from worker.doctor import examination
from worker.doctor.examination import CHECKS, examine, unreadable
from worker.doctor.finding import Finding, Health, ok
from worker.ledger.figures import read_figures


def test_a_healthy_fleet_has_nothing_wrong(patient: Patient) -> None:
    """Every line is ok, and every check has one."""
    findings = patient.findings()

    assert [finding for finding in findings if finding.health is not Health.OK] == []
    assert [finding.name for finding in findings] == [
        "settings",
        *("redis", "redis latency", "redis clock", "broker"),
        *("workers", "queues", "beat", "pause", "dead letters"),
        *("vault keys", "cronofy", "mail", "data directory", "webhook"),
    ]
    assert not any(finding.fix for finding in findings)


def test_all_that_is_missing_is_told_at_once(patient: Patient) -> None:
    """One line per setting; whatever needs them is skipped."""
    for name in ("cronofy_client_id", "vault_keys"):
        del patient.values[name]
    patient.values |= {"mail_from": "nobody", "smtp_url": "smtp://host/path"}

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


def test_each_setting_that_does_not_load_is_told() -> None:
    """One line per fault, without the values."""
    with pytest.raises(SettingsError) as raised:
        load_settings(grace="s3cret", api_share=7)

    findings = unreadable(raised.value)

    assert {f.what.split()[0] for f in findings} == {"RECONCILER_GRACE", "RECONCILER_API_SHARE"}
    assert {f.health for f in findings} == {Health.WRONG}
    assert "s3cret" not in str(findings)


def test_an_outage_of_redis_skips_what_needs_it(patient: Patient) -> None:
    """Everything else is still checked."""
    patient.values["redis_url"] = f"redis://{AWAY}/0"

    health = {finding.name: finding.health for finding in patient.findings()}

    assert health["redis"] is Health.WRONG
    for name in ("workers", "queues", "beat", "pause", "vault keys", "cronofy"):
        assert health[name] is Health.SKIPPED
    assert health["mail"] is Health.OK


def test_cronofy_is_asked_once_and_spends_no_account(patient: Patient) -> None:
    """One refresh with a made-up token, charged to the budget."""
    patient.findings("cronofy")

    [request] = patient.sandbox.control.requests()
    assert (request["path"], request["status"], request["sub"]) == ("/oauth/token", 400, None)
    [spent] = read_figures(patient.redis, patient.ledger.keys).spent
    assert (spent.client_id, spent.origin, spent.last_minute) == ("sandbox-client", patient.sandbox.url, 1)


def test_cronofy_is_not_asked_during_a_pause(patient: Patient) -> None:
    """A pause covers every call, including the doctor's."""
    patient.ledger.set_paused(True)

    [finding] = patient.complaints("cronofy")

    assert (finding.health, finding.what) == (Health.SKIPPED, "not asked while the fleet is paused")
    assert patient.sandbox.control.requests() == []


def test_a_webhook_that_leads_to_what_we_serve_is_well(patient: Patient) -> None:
    """It is probed without a made-up notification: none is counted as refused."""
    with serving(**patient.values) as url:
        patient.values["webhook_url"] = url
        [finding] = patient.findings("webhook")[1:]

    assert (finding.health, finding.what) == (Health.OK, "answers")
    assert patient.ledger.counters().get("notifications:bad_signature", 0) == 0


SKEWS = {"ahead": (90, "1 min 30 s behind"), "behind": (-7200, "2 h ahead of")}


@pytest.mark.parametrize(("seconds", "said"), SKEWS.values(), ids=SKEWS)
def test_a_host_whose_clock_is_off_is_told(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, seconds: float, said: str
) -> None:
    """By how much, and in which direction; the ledger does not depend on it, so it is a warning."""
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + seconds + (0.5 if seconds > 0 else -0.5))

    [finding] = patient.complaints("redis")

    assert (finding.name, finding.health) == ("redis clock", Health.WARNING)
    assert said in finding.what


LOGINS = {
    "the right login": ("smtp://user%40example.org:hunter2%2F%3A@", None),
    "a wrong password": ("smtp://user%40example.org:hunter3@", "it answered 535 at login"),
    "no TLS": ("smtp+starttls://user%40example.org:hunter2%2F%3A@", "does not offer what the SMTP URL asks"),
}


@pytest.mark.parametrize(("address", "complaint"), LOGINS.values(), ids=LOGINS)
def test_the_mail_server_is_tried_with_the_login_and_sent_nothing(
    patient: Patient, address: str, complaint: str | None
) -> None:
    """Connect, log in, nothing more; without STARTTLS the login is not sent in plain text."""
    inbox = Inbox()
    with mail_server(inbox, authenticator=check_login, auth_require_tls=False) as port:
        patient.values["smtp_url"] = f"{address}127.0.0.1:{port}"
        found = patient.complaints("mail")

    assert bool(found) == bool(complaint)
    assert all(complaint in finding.what for finding in found if complaint)
    assert inbox.envelopes == []
    assert "hunter" not in str(found)


def test_a_check_that_hangs_holds_up_no_other(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its earlier findings are shown, then that it did not finish."""
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
    """It accepts connections and says nothing: all checks still finish in time."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
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
