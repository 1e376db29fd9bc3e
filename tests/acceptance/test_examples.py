"""The examples for callers, each as its own program against a real fleet."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.fernet import Fernet

from sandbox.control.admin import Json
from sandbox.world.courier import sign
from tests.acceptance.harness import CLIENT_SECRET, Fleet, Person, running_fleet, zoom
from tests.ports import free_port
from tests.receivers import SECRET, receiving
from tests.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not on this machine")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on this machine")
needs_redis_cli = pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not here")


def _for_redis_cli(fleet: Fleet) -> dict[str, str]:
    """The URL without its password, which is passed separately."""
    url = urlsplit(fleet.redis_url)
    return {"BROKER_URL": f"redis://127.0.0.1:{url.port}/0", "REDISCLI_AUTH": url.password or ""}


def _try(fleet: Fleet, command: list[str], event: Json, cwd: Path, **env: str) -> CompletedProcess[str]:
    """Run an example with the event on standard input."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "BROKER_URL": fleet.redis_url, **env},
        input=json.dumps(event),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def _run(fleet: Fleet, command: list[str], event: Json, cwd: Path, **env: str) -> str:
    """Run an example; returns what it printed."""
    done = _try(fleet, command, event, cwd, **env)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def _hands_over(fleet: Fleet, name: str, cwd: Path, *command: str) -> None:
    """Account and event of somebody known only to Cronofy are accepted, and the diagnosis is printed."""
    person = Person(fleet, f"acc_{os.urandom(6).hex()}", [zoom("pro_zoom")], {})
    person.stick(name)
    event = person.write(name, "pro_zoom", timedelta(days=2))
    ids = (person.sub, person.calendar_id)

    printed = _run(fleet, [*command, *ids], event, cwd, CRONOFY_REFRESH_TOKEN=person.refresh_token)

    assert json.loads(printed)["state"] == "pending"
    person.stick(name, on=False)
    person.outcome("assigned", name)


def test_a_caller_in_python_tracks_an_event(fleet: Fleet) -> None:
    """With only Celery."""
    _hands_over(fleet, "from-python", EXAMPLES / "python", sys.executable, "hand_over.py")


@needs_npm
def test_a_caller_in_node_tracks_an_event(fleet: Fleet, tmp_path: Path) -> None:
    """By a Celery client from npm."""
    home = shutil.copytree(EXAMPLES / "node", tmp_path / "node")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(install, cwd=home, capture_output=True, timeout=120, check=True)

    _hands_over(fleet, "from-node", home, "node", "hand_over.mjs")


@needs_redis_cli
def test_a_shell_script_with_plain_redis_tracks_an_event(fleet: Fleet) -> None:
    """The message is written by hand, and the answer read from its key."""
    person = fleet.person(zoom("pro_zoom"))
    event = person.write("from-shell", "pro_zoom", timedelta(days=2))

    command = ["sh", "track.sh", person.sub, person.calendar_id]
    printed = _run(fleet, command, event, EXAMPLES / "shell", **_for_redis_cli(fleet))

    assert json.loads(printed)["result"] is True
    person.outcome("assigned", "from-shell")


@needs_redis_cli
def test_a_shell_script_gets_the_reason_of_a_refusal(fleet: Fleet) -> None:
    """An event without an id fails at once, with the reason."""
    command = ["sh", "track.sh", "acc_x", "cal_x"]
    done = _try(fleet, command, {}, EXAMPLES / "shell", **_for_redis_cli(fleet))

    assert done.returncode == 1
    assert "event.event_id must be a non-empty string" in done.stdout


def test_a_webhook_of_your_own_passes_notifications_on(quiet_fleet: Fleet) -> None:
    """A signed notification received by the Flask application settles its event before a look would."""
    person = quiet_fleet.person(zoom("pro_zoom"))
    person.track(person.write("by-webhook", "pro_zoom", timedelta(days=2), subscriptions=[]))
    names = {"calendar_id": person.calendar_id, "event_id": "by-webhook"}
    wait_until(lambda: "join_url" in quiet_fleet.control.event(**names)["conferencing"])
    interactions = [{"type": "conferencing_assigned"}]
    body = json.dumps({"notification": {"interactions": interactions}, "event": names})

    with _webhook(quiet_fleet) as url:
        headers = {"Cronofy-HMAC-SHA256": sign(body.encode(), [CLIENT_SECRET])}
        answer = httpx.post(url, content=body, headers=headers, timeout=20)

    assert answer.status_code == 204
    person.outcome("assigned", "by-webhook")


def test_a_webhook_of_your_own_answers_503_without_the_broker(fleet: Fleet) -> None:
    """503 with Retry-After, so that Cronofy sends it again."""
    with _webhook(fleet, BROKER_URL=f"redis://127.0.0.1:{free_port()}/0") as url:
        answer = httpx.post(url, content="{}", timeout=30)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")


def test_a_consumer_group_processes_each_outcome_once(fleet: Fleet) -> None:
    """What a dead consumer read but never acknowledged, another one processes, and then no other."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("left", "pro_zoom")
    person.outcome("assigned", "left")
    stream, group = "reconciler:outcomes", f"billing-{os.urandom(4).hex()}"
    fleet.redis.xgroup_create(stream, group, id="0")
    fleet.redis.xreadgroup(group, "dead", {stream: ">"})
    held: Any = fleet.redis.xpending_range(stream, group, "-", "+", 10_000)
    fleet.redis.xclaim(stream, group, "dead", 0, [entry["message_id"] for entry in held], idle=120_000)

    assert "assigned left " in _consume(fleet, group, "one")
    assert "assigned left " not in _consume(fleet, group, "two")
    pending: Any = fleet.redis.xpending(stream, group)
    assert pending["pending"] == 0


def _consume(fleet: Fleet, group: str, consumer: str) -> str:
    command = [sys.executable, "consume.py", group, consumer, "--until-idle"]
    return _run(fleet, command, {}, EXAMPLES / "outcomes")


@contextmanager
def _program(log: Path, command: list[str], folder: str, **env: str) -> Iterator[None]:
    """An example that runs until it is ended, and what it prints."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=EXAMPLES / folder, env={**os.environ, **env}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _printed(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


@needs_node
def test_receivers_and_a_task_take_every_message_once(tmp_path: Path) -> None:
    """The receiver in Python takes the outcomes, though half of its answers are lost; the one in Node takes
    the same requests, each twice. Letters are sealed on the broker, and send_letters.py opens each once.
    """
    logs = {name: tmp_path / name for name in ("python", "node", "letters")}
    ports = {"python": free_port(), "node": free_port()}
    key = Fernet.generate_key().decode()
    with ExitStack() as stack:
        for name, command in (("python", [sys.executable, "receive.py"]), ("node", ["node", "receive.mjs"])):
            program = _program(logs[name], [*command, str(ports[name])], "receiver", WEBHOOK_SECRET=SECRET)
            stack.enter_context(program)
        for port in ports.values():
            wait_until(lambda port=port: _listens(port), 10, 0.1, what="the receiver")  # type: ignore[misc]
            unsigned = httpx.post(f"http://127.0.0.1:{port}/", json={"type": "assigned"})
            assert unsigned.status_code == 401
        outcomes = stack.enter_context(receiving(forward_to=f"http://127.0.0.1:{ports['python']}/hook"))
        operators = stack.enter_context(receiving(lambda _: 200, secret=None))
        settings = {
            "OUTCOME_URL": outcomes.url,
            "OUTCOME_SECRET": SECRET,
            "USER_MAIL": "task",
            "MAIL_TASK": "mail.send_letter",
            "MAIL_QUEUE": "letters",
            "MAIL_KEY": key,
            "RELINK_REMINDERS": "P1D",
            "ESCALATION_URLS": operators.url.replace("http://", "json://"),
            "ESCALATION_DIGEST": "0",
            "ESCALATION_EMAIL": "",
        }
        fleet = stack.enter_context(running_fleet(tmp_path, "worker", settings))
        fleet.start("beat")
        people = [fleet.person(zoom("pro_zoom")) for _ in range(3)]
        for person in people:
            fleet.control.disconnect_profile(person.sub, "pro_zoom")
            person.write_and_track("asked", "pro_zoom")
        removed = fleet.person(zoom("pro_zoom"))
        removed.stick("removed")
        removed.write_and_track("removed", "pro_zoom")
        fleet.control.remove_profile(removed.sub, "pro_zoom")

        # Each account was connected, three users were asked, and of one an operator is told.
        wait_until(lambda: len(operators.got) == 1, 30, 0.1, what="the operators")
        wait_until(lambda: len(outcomes.taken) == 9, 30, 0.1, what="outcomes")
        wait_until(lambda: fleet.redis.llen("letters") == 3, 15, 0.1, what="the letters")
        for got in outcomes.got * 2:
            again = httpx.post(f"http://127.0.0.1:{ports['node']}/", content=got.body, headers=got.headers)
            assert again.status_code == 204

        stream = {outcome["id"]: outcome for outcome in fleet.outcomes()}
        counts = Counter(got.headers["webhook-id"] for got in outcomes.got)
        assert set(counts.values()) == {1, 2}
        for name in ("python", "node"):
            printed = _printed(logs[name])
            assert len(printed) == 9
            assert {each["webhook-id"]: each["message"] for each in printed} == stream

        raw: Any = fleet.redis.lrange("letters", 0, -1)
        secrets = (b"/relink/", base64.b64encode(b"/relink/"))
        assert not any(secret in message for secret in secrets for message in raw)
        # Somebody sends one of them once more.
        fleet.redis.rpush("letters", raw[0])
        worker = [sys.executable, "-m", "celery", "-A", "send_letters", "worker", "-Q", "letters", "-c", "1"]
        with _program(logs["letters"], worker, "mail", BROKER_URL=fleet.redis_url, MAIL_KEY=key):
            wait_until(lambda: logs["letters"].read_text().count("LETTER") >= 3, 20, 0.1, what="the letters")
            wait_until(lambda: not fleet.redis.llen("letters"), 10, 0.1, what="an empty queue")
            fleet.ask_to_end()
        told = [o["detail"]["mail_id"] for o in stream.values() if o["type"] == "relink_requested"]
        opened = re.findall(r"LETTER (\S+) relink ", logs["letters"].read_text())
        assert sorted(opened) == sorted(told)
        assert fleet.control.mail() == []


@contextmanager
def _webhook(fleet: Fleet, **env: str) -> Iterator[str]:
    """The Flask application on its own development server."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(port)],
        cwd=EXAMPLES / "webhook",
        env={**os.environ, "BROKER_URL": fleet.redis_url, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port), 20, 0.1, what="the webhook to listen")
        yield f"http://127.0.0.1:{port}/cronofy"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_every_example_is_run_here() -> None:
    """The table of examples lists each program, and so does this module."""
    programs = {
        path.relative_to(EXAMPLES).as_posix()
        for path in EXAMPLES.rglob("*")
        if path.suffix in {".py", ".mjs", ".sh"} and "node_modules" not in path.parts
    }
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    here = Path(__file__).read_text(encoding="utf-8")

    assert programs
    assert all(f"]({program})" in table for program in programs)
    assert all(Path(program).name in here or Path(program).stem == "app" for program in programs)
