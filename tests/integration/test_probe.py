"""`reconciler probe`: at a sandbox that answers one way or the other, with a stored or a given token."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sandbox.server import RunningSandbox
from tests.acceptance.processes import environment
from tests.integration.ledgers import dump
from tests.integration.world import Begin, World
from tests.waiting import wait_until
from worker.cli import cli, main
from worker.cronofy.errors import OutOfBudget
from worker.probe import own_event
from worker.probe.asking import Pace
from worker.probe.own_event import SUMMARY
from worker.probe.own_questions import OWN_EVENT
from worker.probe.reads import READS

PRIVATE = "Dentist, room 7"


class Prober:
    """An account with events of its own, and the command that probes it."""

    def __init__(self, running: RunningSandbox, home: Path) -> None:
        self.control = running.control
        calendar = {"calendar_id": "cal_Ab@Cd_1", "name": "Work"}
        self.account = self.control.create_account(
            calendar_profiles=[{"calendars": [calendar]}],
            conferencing_profiles=[{"provider_name": "zoom", "profile_id": "pro_z", "connected": False}],
        )
        self.sub = str(self.account["sub"])
        self.token = home / "token"
        self.token.write_text(f"{self.account['access_token']}\n")
        self.env = environment(CRONOFY_API_URL=running.url)
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
        for hours in (1, 2, 3):
            begin = start + timedelta(hours=hours)
            ends = (begin.isoformat(), (begin + timedelta(minutes=30)).isoformat())
            self.control.create_external_event(self.sub, "cal_Ab@Cd_1", PRIVATE, *ends)
        days = (f"{start:%Y-%m-%d}", f"{start + timedelta(days=1):%Y-%m-%d}")
        self.control.create_external_event(self.sub, "cal_Ab@Cd_1", PRIVATE, *days)

    @property
    def arguments(self) -> list[str]:
        """The command with the given token, on the account's calendar, without a question."""
        named = ["--calendar", "cal_Ab@Cd_1", "--yes", "--wait", "2"]
        return ["probe", self.sub, "--access-token-file", str(self.token), *named]

    def run(self, *more: str, leaving: str = "") -> Result:
        """The command in this process, without the argument `leaving`."""
        arguments = [each for each in self.arguments if each != leaving]
        env = {name: value for name, value in self.env.items() if name.startswith("RECONCILER_")}
        return CliRunner().invoke(cli, [*arguments, *more], env=env)

    def answers(self, *more: str) -> dict[str, str]:
        """Each question's answer."""
        return {each["name"]: each["answer"] for each in self.told(*more)["findings"]}

    def told(self, *more: str) -> dict[str, Any]:
        """What ``--json`` prints."""
        told: dict[str, Any] = json.loads(self.run("--json", *more).stdout)
        return told

    def made(self) -> list[dict[str, Any]]:
        """The writes that made or changed an event."""
        return [each for each in self.control.writes() if each["action"] == "upsert"]

    def standing(self) -> list[str]:
        """The ids of the probe's events that are still there."""
        ids = dict.fromkeys(write["event_id"] for write in self.made())
        return [each for each in ids if not self.control.event("cal_Ab@Cd_1", each)["deleted"]]


@pytest.fixture
def prober(running: RunningSandbox, tmp_path: Path) -> Iterator[Prober]:
    """An account at the emptied sandbox, whose conferences come at once."""
    running.control.reset()
    running.control.set_settings(generation_seconds=0.2, page_size=4)
    yield Prober(running, tmp_path)
    running.control.reset()


def test_what_the_sandbox_can_say_is_answered_and_nothing_is_left(prober: Prober) -> None:
    """3 for what it cannot show: a series. The event has no attendees or reminders, and is deleted."""
    ran = prober.run("--json")
    told = json.loads(ran.stdout)
    answers = {each["name"]: each["answer"] for each in told["findings"]}

    assert [name for name, word in answers.items() if word == "open"] == ["events.series", "events.page_size"]
    assert (ran.exit_code, told["left_over"]) == (3, None)
    assert list(answers) == [question.name for question in (*READS, *OWN_EVENT)]
    assert {write["event_id"] for write in prober.made()} != set()
    assert prober.standing() == []
    assert prober.control.invitations() == []
    first = prober.made()[0]["body"]
    assert (first["summary"], first["reminders"], "attendees" in first) == (SUMMARY, [], False)
    assert first["start"]["time"][:10] > f"{datetime.now(UTC) + timedelta(days=50):%Y-%m-%d}"


def test_an_account_that_shows_everything_leaves_no_question_open(prober: Prober) -> None:
    """The exit code is 0. What differs from what is assumed is marked, here the relink links' host."""
    prober.control.set_settings(page_size=3, event_fields={"recurring": True})

    ran = prober.run()

    assert (ran.exit_code, "1 not as assumed, 0 open." in ran.stdout) == (0, True)
    [marked] = [line for line in ran.stdout.splitlines() if line.endswith("NOT SO.")]
    assert "https at cronofy.com" in marked


def test_nothing_secret_or_private_is_printed(prober: Prober) -> None:
    """No token, relink URL or address of a person, and no title of anybody's event."""
    account = prober.control.account(prober.sub)
    relink = account["conferencing_profiles"][0]["relink_token"]
    for more in ((), ("--json",)):
        ran = prober.run(*more)

        for secret in (account["access_token"], account["refresh_token"], relink, "dana@", PRIVATE):
            assert secret not in ran.output
        assert "Traceback" not in ran.output


SWITCHES = [
    ({"batch_status": 200}, {}, "batch.status", "200"),
    ({"batch_status": 207}, {}, "batch.status", "207"),
    ({"batch_urls": "raw"}, {}, "batch.encoded", "not found"),
    ({"batch_urls": "decoded"}, {}, "batch.encoded", "found"),
    ({}, {"page_size": 2}, "events.page_size", "2"),
    ({}, {"event_fields": {"start": "2026-11-22T09:00:00+01:00"}}, "events.times", "local"),
]


@pytest.mark.parametrize(("traits", "settings", "name", "word"), SWITCHES)
def test_a_read_follows_what_the_sandbox_does(
    prober: Prober, traits: dict[str, Any], settings: dict[str, Any], name: str, word: str
) -> None:
    """One switch each; no event is made for it."""
    prober.control.set_personality(**traits)
    prober.control.set_settings(**settings)

    assert prober.answers("--reads-only")[name] == word
    assert prober.made() == []


@pytest.mark.parametrize("omitted", ["kept", "cleared"])
def test_an_update_follows_what_the_sandbox_does(prober: Prober, omitted: str) -> None:
    """What an update omits is kept or cleared."""
    prober.control.set_personality(omitted_fields=omitted)

    answers = prober.answers()

    assert (answers["update.description"], answers["update.location"]) == (omitted, omitted)


def test_a_conference_that_does_not_come_leaves_its_questions_open(prober: Prober) -> None:
    """Within the time given; the others are answered, and the event is deleted."""
    prober.control.set_settings(generation_seconds=3600)

    told = prober.told("--wait", "0.1")

    answers = {each["name"]: each["answer"] for each in told["findings"]}
    assert {answers[name] for name in ("conferencing.assigned", "update.again", "read.location")} == {"open"}
    assert answers["conferencing.pending"] == "pending only"
    assert answers["profile.explicit"] == "assigned"
    assert prober.standing() == []


def test_reads_only_changes_nothing(prober: Prober) -> None:
    """Neither an event nor a deletion, and it is not asked first; 0 only if every question was answered."""
    prober.control.set_settings(page_size=2)
    ran = prober.run("--reads-only", leaving="--yes")

    assert prober.control.writes() == []
    assert ran.exit_code == 3
    assert "events.series" not in ran.output
    assert "Cannot be probed harmlessly" in ran.stdout


def test_no_event_is_made_that_could_not_be_deleted(prober: Prober) -> None:
    """A deletion is tried while there is nothing to delete."""
    prober.control.add_fault("status", match={"method": "DELETE"}, status=403)

    ran = prober.run("--json")

    assert prober.made() == []
    assert "a deletion is not accepted on that calendar (answered 403)" in ran.stderr
    assert (ran.exit_code, json.loads(ran.stdout)["left_over"]) == (3, None)


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGHUP])
def test_a_probe_that_is_stopped_deletes_its_event(
    prober: Prober, tmp_path: Path, way: signal.Signals
) -> None:
    """In the middle of a call, whose connection is lost with it; the exit code is 130."""
    prober.control.set_settings(generation_seconds=3600)
    with _begun(prober, tmp_path) as child:
        wait_until(prober.made, timeout=30)
        prober.control.add_fault("hang", match={"method": "GET", "path_prefix": "/v1/events"})
        wait_until(lambda: prober.control.requests()[-1]["status"] == 0, timeout=30)
        child.send_signal(way)
        _, complaint = child.communicate(timeout=30)

    assert child.returncode == 130
    assert "Traceback" not in complaint
    assert (len(prober.made()), prober.standing()) == (1, [])


def test_an_event_that_cannot_be_deleted_is_named(prober: Prober, tmp_path: Path) -> None:
    """With both ids, so that a person can."""
    prober.control.set_settings(generation_seconds=3600)
    with _begun(prober, tmp_path) as child:
        wait_until(prober.made, timeout=30)
        prober.control.add_fault("status", match={"method": "DELETE"}, status=403)
        child.send_signal(signal.SIGINT)
        _, complaint = child.communicate(timeout=30)

    [event_id] = prober.standing()
    assert f"event {event_id} in calendar cal_Ab@Cd_1" in complaint
    assert child.returncode == 130


def test_an_event_that_is_still_shown_is_named(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion that is accepted and not carried out; the exit code is 1."""
    monkeypatch.setattr(own_event, "VISIBLE_SECONDS", 1.0)
    prober.control.add_fault("status", match={"method": "DELETE"}, status=202)

    ran = prober.run("--json")

    [event_id] = prober.standing()
    left = {"calendar_id": "cal_Ab@Cd_1", "event_id": event_id}
    assert (ran.exit_code, json.loads(ran.stdout)["left_over"]) == (1, left)
    assert f"event {event_id} in calendar cal_Ab@Cd_1" in ran.stderr


def test_a_dry_run_makes_no_event(
    prober: Prober, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reads are allowed, if they are asked for."""
    monkeypatch.setenv("RECONCILER_DRY_RUN", "true")

    assert _main(monkeypatch, prober, *prober.arguments[1:]) == 1
    assert "--reads-only" in capsys.readouterr().err
    assert prober.control.writes() == []


def _begun(prober: Prober, home: Path) -> subprocess.Popen[str]:
    """The command in a process of its own, waiting long for the conference.

    It takes note of SIGHUP, even if nohup started the tests.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "worker.cli", *prober.arguments, "--wait", "600"],
        cwd=home,
        env=prober.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )


def test_cronofys_trouble_leaves_questions_open_and_no_event(prober: Prober) -> None:
    """A 503 to each write but the deletion is no answer, nor is a page of HTML to a read."""
    prober.control.add_fault("status", match={"method": "POST", "path_prefix": "/v1/calendars"}, status=503)
    prober.control.add_fault("html", match={"path_prefix": "/v1/events/pages"}, status=502)

    answers = prober.answers()

    assert {answers[name] for name in ("write.accepted", "ids.alone", "events.unknown_page")} == {"open"}
    assert answers["batch.status"] == "207"
    assert prober.made() == []


WRONG = [
    (["--yes", "--access-token-file"], "TOKEN", 2, "--yes needs --calendar"),
    (["--access-token-file"], "TOKEN", 2, "no terminal to ask on"),
    (["--reads-only", "--access-token-file"], "EMPTY", 1, "one access token"),
    (["--reads-only", "--calendar", "cal_other", "--access-token-file"], "TOKEN", 1, "no calendar cal_other"),
]


@pytest.mark.parametrize(("options", "file", "code", "said"), WRONG)
def test_wrong_usage_is_named(
    prober: Prober,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    file: str,
    code: int,
    said: str,
) -> None:
    """Before anything is made."""
    empty = tmp_path / "empty"
    empty.write_text("\n")
    given = str(prober.token if file == "TOKEN" else empty)

    assert _main(monkeypatch, prober, prober.sub, *options, given) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert prober.made() == []


def test_a_token_of_another_account_is_refused(
    prober: Prober, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its calendars are not the ones that the operator means."""
    given = ("--reads-only", "--access-token-file", str(prober.token))

    assert _main(monkeypatch, prober, "acc_other", *given) == 1
    assert "The token is another account's" in capsys.readouterr().err


def _main(monkeypatch: pytest.MonkeyPatch, prober: Prober, *arguments: str) -> int:
    for name, value in prober.env.items():
        if name.startswith("RECONCILER_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["reconciler", "probe", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


# With the ledger's tokens.


def stored(world: World, *arguments: str) -> Result:
    """The command with the settings of a worker."""
    settings = world.services.settings
    env = {
        "RECONCILER_REDIS_URL": settings.redis_url,
        "RECONCILER_KEY_PREFIX": settings.key_prefix,
        "RECONCILER_VAULT_KEYS": settings.vault_keys[0].get_secret_value(),
        "RECONCILER_CRONOFY_CLIENT_ID": settings.cronofy_client_id,
        "RECONCILER_CRONOFY_CLIENT_SECRET": settings.cronofy_client_secret[0].get_secret_value(),
        "RECONCILER_CRONOFY_API_URL": settings.cronofy_api_url,
    }
    return CliRunner().invoke(cli, ["probe", *arguments], env=env)


def test_the_ledgers_tokens_are_used_and_refreshed_and_the_account_stays_as_it_was(begin: Begin) -> None:
    """What is tracked is not changed, and each call is paid for from the fleet's budget."""
    world = begin()
    world.track()
    before = (world.stored(), world.standing())
    world.control.expire_access_token(world.sub)

    ran = stored(world, world.sub, "--yes", "--calendar", world.calendar_id, "--wait", "0.1", "--json")

    answers = {each["name"]: each["answer"] for each in json.loads(ran.stdout)["findings"]}
    assert (ran.exit_code, answers["events.only_managed"], answers["events.deleted"]) == (3, "yes", "deleted")
    assert world.calls().count("POST /oauth/token") == 1
    assert (world.stored(), world.standing()) == before
    made = {write["event_id"] for write in world.writes() if write["action"] == "upsert"}
    assert all(world.control.event(world.calendar_id, each)["deleted"] for each in made)
    paid = world.services.ledger.redis.keys(f"{world.services.ledger.prefix}:budget:*")
    assert paid


def test_an_account_that_cannot_be_asked_is_said_so(begin: Begin) -> None:
    """An unknown one, and a paused fleet; the ledger is left as it is."""
    world = begin()
    before = dump(world.services.ledger)

    unknown = stored(world, "acc_unknown", "--reads-only")
    assert (unknown.exit_code, "acc_unknown is not known" in unknown.stderr) == (1, True)
    assert dump(world.services.ledger) == before

    world.services.ledger.set_paused(True)
    paused = stored(world, world.sub, "--reads-only")
    assert (paused.exit_code, "reconciler resume" in paused.stderr) == (1, True)


def test_without_a_ledger_the_probe_keeps_a_pace_of_its_own() -> None:
    """So many requests a minute, and none during a pause that Cronofy asked for."""
    pace = Pace(3)
    pace.take(3)
    with pytest.raises(OutOfBudget) as spent:
        pace.take()
    assert spent.value.retry_after is not None
    assert timedelta(seconds=59) < spent.value.retry_after <= timedelta(seconds=60)

    paused = Pace(3)
    paused.pause(timedelta(seconds=9))
    with pytest.raises(OutOfBudget):
        paused.take()
