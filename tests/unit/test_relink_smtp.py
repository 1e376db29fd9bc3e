"""The SMTP URL in the settings, and emails kept as files."""

from __future__ import annotations

import stat
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.mail.smtp import FileMailer, MailError
from worker.mail.smtp_url import SmtpTarget, parse_smtp_url


def mail(message_id: str = "<mail-1@example.org>", text: str = "Hello\n") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = "no-reply@example.org"
    message["To"] = "dana@example.org"
    message["Message-ID"] = message_id
    message.set_content(text)
    return message


@pytest.mark.parametrize(
    ("url", "target"),
    [
        pytest.param("smtp://mail", SmtpTarget("none", "mail", 25), id="plain"),
        pytest.param("smtp://127.0.0.1:1025/", SmtpTarget("none", "127.0.0.1", 1025), id="port and slash"),
        pytest.param("smtp://[::1]:1025", SmtpTarget("none", "::1", 1025), id="IPv6"),
        pytest.param("smtps://mail.example.org", SmtpTarget("tls", "mail.example.org", 465), id="TLS"),
        pytest.param("SMTP+STARTTLS://u:p@Mail", SmtpTarget("starttls", "mail", 587, "u", "p"), id="upper"),
        pytest.param(
            "smtps://u%40x:a%2F%3A%23%25@m:2465", SmtpTarget("tls", "m", 2465, "u@x", "a/:#%"), id="%"
        ),
        pytest.param("smtps://u:a+b:c@mail", SmtpTarget("tls", "mail", 465, "u", "a+b:c"), id="plus, colon"),
        pytest.param("smtps://bücher.example", SmtpTarget("tls", "xn--bcher-kva.example", 465), id="IDNA"),
        pytest.param("smtps://straße.example", SmtpTarget("tls", "xn--strae-oqa.example", 465), id="ß"),
    ],
)
def test_smtp_url_is_parsed(url: str, target: SmtpTarget) -> None:
    """Scheme, host, port and credentials, with default ports."""
    assert parse_smtp_url(url) == target


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("", "must start with smtp://", id="empty"),
        pytest.param("mail.example.org:25", "must start with smtp://|malformed", id="no scheme"),
        pytest.param("http://u:hunter2@mail", "must start with smtp://", id="another scheme"),
        pytest.param("smtp://", "has no host", id="no host"),
        pytest.param("smtp://mail:0", "port 0", id="port 0"),
        pytest.param("smtp://mail:70000", "malformed", id="port too high"),
        pytest.param("smtp://u:hunter2/x@mail", "malformed", id="slash in the password"),
        pytest.param("smtp://u:hunter2%@a..b", "malformed", id="empty label"),
        pytest.param("smtp://mail/hunter2", "continues after host and port", id="path"),
        pytest.param("smtp://u:hunter2 @mail", "white space", id="blank"),
        pytest.param("smtp://hunter2@mail", "both a user and a password", id="no password"),
        pytest.param("smtp://u:hunter2%ff@mail", "not percent-encoded UTF-8", id="not UTF-8"),
        pytest.param("smtp://u:hunter2%00@mail", "printable ASCII", id="NUL"),
        pytest.param("smtp://u:hunter2%C3%A9@mail", "printable ASCII", id="not ASCII"),
    ],
)
def test_unfit_smtp_url_is_refused_without_its_password(url: str, reason: str) -> None:
    """One sentence says what is wrong; neither it nor its cause shows the password."""
    with pytest.raises(ValueError, match=reason) as refused:
        parse_smtp_url(url)
    assert str(refused.value).isprintable()
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@given(password=st.text(alphabet="Hunter2:/?#[]@%&+ \t\\é", min_size=6))
def test_no_password_is_ever_repeated(password: str) -> None:
    """However it is written, neither a refusal nor the target's repr shows a password."""
    try:
        said = repr(parse_smtp_url(f"smtp://user:Hunter2{password}@mail.example.org"))
    except ValueError as error:
        said = str(error)
    assert "Hunter2" not in said
    assert password.strip() == "" or password not in said


def test_file_mailer_keeps_an_email_under_its_message_id(tmp_path: Path) -> None:
    """In its directory, which is created if missing; the last email with a Message-ID replaces the others."""
    directory = tmp_path / "data" / "mail"
    mailer = FileMailer(directory)
    mailer.send(mail(text="first\n"))
    mailer.send(mail(text="second\n"))
    mailer.send(mail("<../../escape@example.org>"))

    kept = {path.name: message_from_bytes(path.read_bytes(), policy=SMTP) for path in directory.iterdir()}
    assert set(kept) == {"mail-1@example.org.eml", "..%2F..%2Fescape@example.org.eml"}
    assert kept["mail-1@example.org.eml"]["To"] == "dana@example.org"
    assert kept["mail-1@example.org.eml"].get_payload() == "second\r\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_kept_mail_is_for_its_owner_only(tmp_path: Path) -> None:
    """Also in a directory that was there before, open to all: the emails hold relink links."""
    directory = tmp_path / "mail"
    directory.mkdir(mode=0o755)

    FileMailer(directory).send(mail())

    assert [path for path in (directory, *directory.iterdir()) if path.stat().st_mode & 0o077] == []


def test_a_directory_that_others_share_is_left_as_it_is(tmp_path: Path) -> None:
    """Such as /tmp: closing it would harm everybody else."""
    tmp_path.chmod(0o1777)

    FileMailer(tmp_path).send(mail())

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_file_mailer_leaves_no_partial_file(tmp_path: Path) -> None:
    """A failing disk is not the email's fault: it is kept for later, and no partial file is left."""
    (tmp_path / "mail-1@example.org.eml").mkdir()
    with pytest.raises(MailError, match="could not be written to a file") as refused:
        FileMailer(tmp_path).send(mail())
    assert not refused.value.permanent
    assert [file.name for file in tmp_path.iterdir()] == ["mail-1@example.org.eml"]
