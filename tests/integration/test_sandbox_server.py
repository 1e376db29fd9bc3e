"""The sandbox's mailbox, and starting and stopping it as a process and as a thread."""

from __future__ import annotations

import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox.control.control import Control
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where emails are also kept as files."""
    return tmp_path_factory.mktemp("mail")


@pytest.fixture(scope="module")
def running(directory: Path) -> Iterator[RunningSandbox]:
    """One sandbox for the module."""
    with RunningSandbox(SandboxOptions(mail_dir=directory)) as sandbox:
        yield sandbox


@pytest.fixture
def smtp(running: RunningSandbox, control: Control) -> Iterator[smtplib.SMTP]:
    """A connection to the mailbox."""
    address = urlsplit(running.smtp_url)
    with smtplib.SMTP(address.hostname or "", address.port or 0, timeout=5) as connection:
        yield connection


def a_mail() -> EmailMessage:
    """Return an email with text and HTML."""
    message = EmailMessage()
    message["From"] = "Reconciler <no-reply@app.example>"
    message["To"] = "dana@example.org"
    message["Subject"] = "Grüße: reconnect Zoom"
    message["Message-ID"] = "<one@app.example>"
    message.set_content("Please reconnect.\n")
    message.add_alternative("<p>Please reconnect.</p>\n", subtype="html")
    return message


def test_received_email_is_kept(
    smtp: smtplib.SMTP, running: RunningSandbox, control: Control, directory: Path
) -> None:
    """An email is listed with its envelope and bodies, kept as a file, and shown on a page."""
    smtp.send_message(a_mail(), to_addrs=["other@example.org"])
    [mail] = control.mail()
    assert (mail["from"], mail["to"]) == ("no-reply@app.example", ["other@example.org"])
    assert (mail["subject"], mail["message_id"]) == ("Grüße: reconnect Zoom", "<one@app.example>")
    assert (mail["text"].strip(), mail["html"].strip()) == ("Please reconnect.", "<p>Please reconnect.</p>")
    assert any(b"<one@app.example>" in path.read_bytes() for path in directory.glob("*.eml"))
    assert "reconnect Zoom</h2>" in httpx.get(f"{running.url}/mail", trust_env=False).text


@pytest.mark.parametrize("status", [pytest.param(451, id="for-now"), pytest.param(550, id="for-good")])
def test_email_is_refused_as_configured(smtp: smtplib.SMTP, control: Control, status: int) -> None:
    """An email is refused with the configured status, delay and count, and then accepted."""
    control.set_mailbox(refuse_status=status, refuse_times=1, delay_seconds=0.1)
    begun = time.monotonic()
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        smtp.send_message(a_mail())
    assert time.monotonic() - begun >= 0.1
    assert refusal.value.smtp_code == status
    smtp.send_message(a_mail())
    assert len(control.mail()) == 1


def test_stopped_sandbox_leaves_nothing_behind() -> None:
    """Afterwards no thread runs and nothing listens, whatever connection was open."""
    threads = threading.active_count()
    with RunningSandbox() as sandbox:
        addresses = [urlsplit(sandbox.url), urlsplit(sandbox.smtp_url)]
        idle = [socket.create_connection((a.hostname or "", a.port or 0)) for a in addresses]
        assert sandbox.control.health() == {"status": "ok"}
    assert threading.active_count() == threads
    for address, connection in zip(addresses, idle, strict=True):
        connection.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.hostname or "", address.port or 0))


def test_hanging_request_does_not_hold_up_the_end() -> None:
    """A request that a fault makes hang is cut off when the sandbox stops."""
    with RunningSandbox() as sandbox, httpx.Client(trust_env=False, timeout=20) as client:
        sandbox.control.add_fault("hang")
        with ThreadPoolExecutor() as pool:
            call = pool.submit(client.post, f"{sandbox.url}/oauth/token", json={})
            wait_until(sandbox.control.requests, what="the request to arrive")
            begun = time.monotonic()
            sandbox.stop()
            assert time.monotonic() - begun < 5
            assert call.exception() or not call.result().is_success


def test_taken_port_is_an_error() -> None:
    """A port in use is an immediate OSError, not a server that never starts."""
    with RunningSandbox() as sandbox, pytest.raises(OSError, match="in use"):
        RunningSandbox(port=urlsplit(sandbox.url).port or 0)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_ended(end: signal.Signals) -> None:
    """`run` blocks, says where it serves, and ends with 0 on SIGINT and SIGTERM."""
    code = "from sandbox.server import SandboxOptions, run; run('127.0.0.1', 0, 0, SandboxOptions())"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            assert client.get(f"{url}/sandbox/health").status_code == 200
        process.send_signal(end)
        assert process.wait(timeout=10) == 0
