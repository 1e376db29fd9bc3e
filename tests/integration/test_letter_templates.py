"""`reconciler letters`, and templates of a company's own: checked at the start, and in a sandbox."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from config.settings import Settings, SettingsError, load_settings
from tests.contract.documents import code, table
from tests.integration.ledgers import an_event
from tests.integration.test_relink_smtp import Inbox, mail_server
from tests.unit.emails import LETTERS, RELINK
from worker.bootstrap import letterhead_of, make_letters
from worker.cli import main
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.mail.letters import Letterhead, Letters, samples

EXAMPLE = Path(__file__).parents[2] / "examples" / "letters"
HEAD = Letterhead("Acme Hiring")
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process, and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str, code: int = 0, **settings: str) -> str:
        for name, value in {"APPLICATION_NAME": "Acme Hiring", **settings}.items():
            monkeypatch.setenv(f"RECONCILER_{name}", value)
        monkeypatch.setattr(sys, "argv", ["reconciler", "letters", *args])
        try:
            main()
            ended: object = 0
        except SystemExit as end:
            ended = end.code
        captured = capsys.readouterr()
        assert ended == code, captured.err
        return captured.out + captured.err

    return run


def test_the_letters_are_listed_with_a_companys_own_files(run: Run) -> None:
    listed = json.loads(run("--json", TEMPLATES_DIR=str(EXAMPLE)))

    own = {row["letter"]: row["own"] for row in listed["letters"]}
    assert own == {
        "relink": [str(EXAMPLE / "de" / "relink.subject.txt"), str(EXAMPLE / "relink.subject.txt")],
        "connect": [],
        "reconnect": [],
        "fallback": [],
    }
    assert len(listed["languages"]) == 10


def test_a_preview_is_written_in_the_language_asked_for(run: Run) -> None:
    """From the most fitting template: the language's own, the company's for all languages, or ours."""
    assert run("preview", "reconnect", "--reminder").startswith("Subject: Reminder: Reconnect your calendar")
    assert "no reminder" in run("preview", "fallback", "--reminder", code=2)
    german = run("preview", "relink", "--locale", "de", TEMPLATES_DIR=str(EXAMPLE))
    assert german.startswith(
        "Subject: Acme Hiring: bitte Zoom erneut verbinden\n\nLiebe Kollegin, lieber Kollege Dana,\n\nAcme"
    )
    french = run("preview", "relink", "--locale", "fr")
    assert french.startswith("Subject: Acme Hiring: please reconnect Zoom\n\nBonjour Dana,\n\nAcme")
    assert "1 Example Street" in run("preview", "connect", "--locale", "ja", "--html")


def test_a_preview_can_be_sent(run: Run) -> None:
    """To whoever asks, with all headers; without a mail server a sentence says what is missing."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        url = f"smtp://127.0.0.1:{port}"
        said = run("preview", "relink", "--send-to", "me@example.org", SMTP_URL=url)
    assert said.endswith("Sent to me@example.org.\n")
    received = inbox.received()
    assert received["To"] == "Dana <me@example.org>"
    assert received["List-Id"] == "Acme Hiring <meeting-links.localhost>"

    assert "RECONCILER_SMTP_URL must be set" in run(
        "preview", "relink", "--send-to", "me@example.org", code=1, SMTP_URL=""
    )
    assert "not a plain email address" in run("preview", "relink", "--send-to", "me", code=1)


def test_a_preview_is_about_a_tracked_event(run: Run, ledger: Ledger, redis_url: str, prefix: str) -> None:
    """For its user, with its title and in its language; of any other event it says what is known."""
    ledger.connect(
        Connecting("acc", Credentials("refresh", "access"), "us", "kim@example.org", "Kim", locale="de")
    )
    ledger.track("acc", an_event())
    of_ledger = {"REDIS_URL": redis_url, "KEY_PREFIX": prefix}

    letter = run("preview", "relink", "--event", "acc", "cal", "e1", **of_ledger)
    assert letter.index("Guten Tag Kim") < letter.index(": Interview\n")

    unknown = run("preview", "relink", "--event", "acc", "cal", "e2", code=1, **of_ledger)
    assert unknown.endswith("What is known of it:\n  reconciler explain --offline acc cal e2\n")


FAULTS = {
    "missing variable": (
        "relink.body.txt",
        "Hello\n{{ nome }}",
        "relink.body.txt, line 2: 'nome' is undefined",
    ),
    "missing part of one": (
        "fallback.body.html",
        "{{ meeting.wen }}",
        "fallback.body.html, line 1: 'dict object' has no attribute 'wen'",
    ),
    "syntax": ("de/connect.subject.txt", "{% if %}", "connect.subject.txt, line 1: Expected an expression"),
    "shared by several": ("base.html", "a\nb\n{{ x.y }}", "base.html, line 3: 'x' is undefined"),
    "only in a reminder": (
        "relink.subject.txt",
        "{% if is_reminder %}{{ 1 / 0 }}{% endif %}x",
        "relink.subject.txt, line 1: division by zero",
    ),
    "nothing to read": ("relink.subject.txt", " ", "relink.subject.txt in en is empty"),
    "not text": ("relink.subject.txt", "\udcff", "relink.subject.txt"),
    "out of the sandbox": (
        "relink.body.txt",
        "{{ meetings.__class__.__mro__ }}",
        "relink.body.txt, line 1: access to attribute '__class__'",
    ),
    "changing what it is given": ("relink.body.txt", "{{ meetings.clear() }}", "line 1: access to attribute"),
    "out of the directory": ("relink.body.txt", "{% include '../secret' %}", "relink.body.txt"),
}


@pytest.mark.parametrize(("name", "text", "told"), FAULTS.values(), ids=FAULTS)
def test_a_template_that_cannot_be_used_stops_the_start(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    """With its file, its line, and the reason, whichever language or letter it is for."""
    (tmp_path / "de").mkdir()
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(SettingsError, match=r"^A letter cannot be written: ") as refused:
        make_letters(load_settings(application_name="Acme", templates_dir=tmp_path))

    assert told in str(refused.value)


def test_a_directory_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"RECONCILER_TEMPLATES_DIR leads to .*, which is no directory"):
        make_letters(load_settings(application_name="Acme", templates_dir=tmp_path / "none"))


def test_a_folder_adds_a_language(tmp_path: Path) -> None:
    """Dates are written in it; what it does not replace is in English."""
    (tmp_path / "sv").mkdir()
    (tmp_path / "sv" / "relink.subject.txt").write_text("Anslut {{ service }} igen")
    letters = Letters(HEAD, "sv", tmp_path)
    letters.check()

    letter = letters.write(RELINK)

    assert (letter.locale, letter.subject) == ("sv", "Anslut Zoom igen")
    assert "tisdag 1 december 2026" in letter.text
    assert "creates the video links" in letter.text


def test_templates_get_what_the_contract_names() -> None:
    """Each variable of the documents, and no other."""
    documented = {name for row in table("docs/letters.md", "in a template") for name in code(row[0])}

    assert {name for _, email in samples() for name in LETTERS.write(email).parts} == documented


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"application_name": "Acme"}, "Acme"),
        ({"mail_from": "Acme Hiring <no-reply@acme.example>"}, "Acme Hiring"),
        ({"application_name": "Acme", "mail_from": "X <no-reply@acme.example>"}, "Acme"),
    ],
)
def test_letters_say_whose_they_are(given: dict[str, str], name: str) -> None:
    """By the setting, or as before it was there, by the name in the sender's address."""
    assert letterhead_of(_settings(smtp_url="smtp://mail.example:25", **given)).application == name


def test_where_mail_goes_to_users_a_name_is_required() -> None:
    """One sentence says what to set; without a mail server, or in a dry run, nobody is written to."""
    for given in ({}, {"mail_from": "no-reply@acme.example"}):
        with pytest.raises(SettingsError, match="RECONCILER_APPLICATION_NAME must be set"):
            letterhead_of(_settings(smtp_url="smtp://mail.example:25", **given))
    assert letterhead_of(_settings()).application
    assert letterhead_of(_settings(smtp_url="smtp://mail.example:25", dry_run=True)).application


def _settings(**values: object) -> Settings:
    return load_settings(**values)


@pytest.mark.parametrize(
    ("color", "words"),
    [("#1a5fb4", "#ffffff"), ("#ffd700", "#000000"), ("#000000", "#ffffff"), ("#FFFFFF", "#000000")],
)
def test_words_on_the_button_stand_out(color: str, words: str) -> None:
    assert Letterhead("Acme", color=color).on_color == words


def test_what_was_checked_at_the_start_is_what_is_used(tmp_path: Path) -> None:
    """A template that changes meanwhile is read at the next start."""
    (tmp_path / "relink.subject.txt").write_text("as checked")
    letters = Letters(HEAD, "en", tmp_path)
    letters.check()
    (tmp_path / "relink.subject.txt").write_text("{{ gone }}")

    assert letters.write(RELINK).subject == "as checked"
