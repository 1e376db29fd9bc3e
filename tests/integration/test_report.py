"""The report on how meetings began: as a command, on the board, in the metrics and as a monthly email."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from click.testing import CliRunner
from redis import Redis

from tests.integration.served import serving
from tests.integration.world import Begin, World
from worker.cli import cli
from worker.ledger.ledger import Ledger
from worker.ledger.tallies import number_of
from worker.mail.compose import read_back
from worker.run.reporting import is_report_due, write_report

TODAY = datetime.now(UTC).date()
TOKEN = "a-token-of-the-board"


def fill(ledger: Ledger) -> None:
    """A month of meetings: 99 with their link, one without, and two that were tracked too late."""
    yesterday = ledger.keys.day(str(number_of(TODAY - timedelta(days=1))))
    names = {"w1n:zoom": 90, "w3r:ms_teams": 9, "o2a:zoom": 1, "l1n:zoom": 2, "t2": 60, "t5": 39}
    for name, number in {**names, "calls": 408, "mails": 5, "asked": 4, "back": 3}.items():
        ledger.redis.hset(yesterday, name, str(number))
    long_ago = ledger.keys.day(str(number_of(TODAY - timedelta(days=40))))
    ledger.redis.hset(long_ago, mapping={"w1n:zoom": 100})


def printed(*args: str) -> str:
    """What the command prints."""
    done = CliRunner().invoke(cli, ["report", *args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def filled(
    ledger: Ledger, redis: Redis, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Ledger:
    """A ledger with meetings, which the environment names."""
    monkeypatch.setenv("RECONCILER_REDIS_URL", redis_url)
    monkeypatch.setenv("RECONCILER_KEY_PREFIX", prefix)
    fill(ledger)
    return ledger


def test_the_report_says_how_many_began_with_their_link_and_why_others_did_not(filled: Ledger) -> None:
    """Those that were tracked too late are no part of the service level."""
    text = printed()

    assert "99 % of the meetings began with their link: 99 of 100 that could have had one." in text
    assert "2 more were tracked less than two minutes before the start." in text
    assert "From track to link: half within 1 min, nine of ten within 15 min." in text
    assert "Users were asked 4 times to connect something, and did 3 times (75 %)." in text
    assert "408 calls to Cronofy, 4.0 for each meeting; 5 emails." in text
    assert any(line.split()[-3:] == ["9", "0", "0"] for line in text.splitlines() if "Teams" in line)
    assert max(map(len, text.splitlines())) <= 80


def test_it_begins_when_it_is_asked_to(filled: Ledger) -> None:
    """A duration up to now, or a date."""
    assert json.loads(printed("--json"))["with"] == 99
    assert json.loads(printed("--json", "--since", "P90D"))["with"] == 199
    since = (TODAY - timedelta(days=1)).isoformat()
    found = json.loads(printed("--json", "--since", since))
    assert (found["first"], found["last"], len(found["days"])) == (since, TODAY.isoformat(), 2)
    assert found["share"] == 0.99


@pytest.mark.parametrize("since", ["yesterday", "P2Y", "P401D", "PT1H", "1999-01-01", "9999-01-01"])
def test_days_that_are_not_kept_are_refused(filled: Ledger, since: str) -> None:
    """With a sentence."""
    done = CliRunner().invoke(cli, ["report", "--since", since])

    assert done.exit_code == 2
    assert "Give " in done.output or "is not within" in done.output


def test_an_empty_ledger_has_a_report(ledger: Ledger, filled: Ledger) -> None:
    """No division by nothing."""
    ledger.redis.delete(*ledger.redis.keys(f"{ledger.prefix}:day:*"))

    assert "No meeting began that could have had its link." in printed()
    assert json.loads(printed("--json"))["share"] is None
    assert "No meeting yet" in printed("--html")


def test_names_of_a_newer_version_are_left_out(filled: Ledger) -> None:
    """What this one does not know counts as nothing."""
    day = filled.keys.day(str(number_of(TODAY)))
    filled.redis.hset(day, mapping={"w99n:zoom": 7, "x1n:zoom": 7, "w1z:zoom": 7, "t99": 1, "new": 1})

    assert json.loads(printed("--json"))["with"] == 99


def test_the_board_and_the_page_show_the_same(begin: Begin) -> None:
    """With a plot, and for the days that are asked for."""
    world = begin(board_token=TOKEN)
    fill(world.services.ledger)
    settings = world.services.settings
    served = {
        "board_token": TOKEN,
        "metrics_token": TOKEN,
        "redis_url": settings.redis_url,
        "key_prefix": settings.key_prefix,
        "vault_keys": ",".join(key.get_secret_value() for key in settings.vault_keys),
    }
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with serving(**served) as url:
        month, year, any_days = (
            httpx.get(f"{url}/report{days}", headers=bearer, trust_env=False).text
            for days in ("", "?days=365", "?days=drop")
        )
        metrics = httpx.get(f"{url}/metrics", headers=bearer, trust_env=False).text
        assert httpx.get(f"{url}/report", trust_env=False).status_code == 401

    assert "99 % of the meetings" in month
    assert "99.5 % of the meetings" in year
    assert any_days == month
    assert 'class="bar lacking" d="M' in month
    assert 'reconciler_meetings{cause="profile_removed",done="reassigned",link="with"} 9.0' in metrics


OPERATOR = "boss@example.org"


def month_of_the_last_report(world: World, month: str) -> None:
    """As though the last report had been written in this month."""
    world.services.ledger.redis.set(world.services.ledger.keys.reported, month)


def test_a_letter_goes_out_once_when_the_month_has_changed(begin: Begin) -> None:
    """The first time there is nothing to report: nobody knows since when meetings were counted."""
    world = begin(report_email=OPERATOR, board_url="https://board.example.org")
    assert is_report_due(world.services)
    assert not write_report(world.services)
    assert not is_report_due(world.services)
    month_of_the_last_report(world, "2026-01")
    ledger, last = world.services.ledger, (datetime.now(UTC) - timedelta(hours=6)).date().replace(day=1)
    last -= timedelta(days=1)
    ledger.redis.hset(ledger.keys.day(str(number_of(last))), mapping={"w1n:zoom": 3, "o2a:<b>zoom": 1})

    assert write_report(world.services)
    assert not write_report(world.services)
    [mail] = world.mails()
    message = read_back(mail.message)
    assert message["To"] == OPERATOR
    assert message["Subject"] == f"Meetings of {last:%Y-%m}: 75 % began with their link"
    bodies = [message.get_body((kind,)) for kind in ("plain", "html")]
    text, page = (body.get_content() if body else "" for body in bodies)
    assert "75 % of the meetings began with their link: 3 of 4 that could have had one." in text
    assert "- Zoom: 3 with their link, 0 without" in text
    assert "https://board.example.org/report" in text
    assert "<b>zoom" not in page


@pytest.mark.parametrize(
    "settings", [{}, {"report_email": OPERATOR, "dry_run": True}], ids=["nobody", "dry run"]
)
def test_no_letter_without_an_address_or_in_a_dry_run(begin: Begin, settings: dict[str, object]) -> None:
    """Nor does anything of it reach the ledger."""
    world = begin(**settings)
    month_of_the_last_report(world, "2026-01")

    assert not write_report(world.services)
    assert world.mails() == []


def test_no_letter_while_the_fleet_is_paused(begin: Begin) -> None:
    """It is written once the fleet is resumed."""
    world = begin(report_email=OPERATOR)
    month_of_the_last_report(world, "2026-01")
    world.services.ledger.set_paused(True)
    assert not write_report(world.services)
    world.services.ledger.set_paused(False)

    assert write_report(world.services)
