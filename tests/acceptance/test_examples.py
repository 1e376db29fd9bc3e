"""The examples for callers, each as its own program against a real fleet."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox.control.control import Json
from sandbox.world.courier import sign
from tests.acceptance.harness import Fleet, Person, zoom
from tests.ports import free_port
from tests.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not on this machine")
needs_redis_cli = pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not here")


def _environment(fleet: Fleet, **more: str) -> dict[str, str]:
    return {**os.environ, "BROKER_URL": fleet.redis_url, **more}


def _for_redis_cli(fleet: Fleet) -> dict[str, str]:
    """The URL without its password, which goes its own way."""
    url = urlsplit(fleet.redis_url)
    return {"BROKER_URL": f"redis://127.0.0.1:{url.port}/0", "REDISCLI_AUTH": url.password or ""}


def _run(fleet: Fleet, command: list[str], event: Json, cwd: Path, **env: str) -> str:
    """Run an example with the event on its standard input; what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=_environment(fleet, **env),
        input=json.dumps(event),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def _stranger(fleet: Fleet) -> Person:
    """Somebody at Cronofy whose account is not connected here."""
    return Person(fleet, f"acc_{os.urandom(6).hex()}", [zoom("pro_zoom")], {})


def _event(person: Person, event_id: str) -> Json:
    """An event that was written at Cronofy and whose conference does not come yet."""
    person.stick(event_id)
    return person.write(event_id, "pro_zoom", timedelta(days=2))


def test_a_caller_in_python_hands_an_event_over(fleet: Fleet) -> None:
    """Account and event are taken, and the diagnosis is printed."""
    person = _stranger(fleet)
    event = _event(person, "from-python")
    command = [sys.executable, "hand_over.py", person.sub, person.calendar_id]

    printed = _run(fleet, command, event, EXAMPLES / "python", CRONOFY_REFRESH_TOKEN=person.refresh_token)

    assert json.loads(printed)["state"] == "pending"
    person.stick("from-python", on=False)
    person.outcome("assigned", "from-python")


@needs_npm
def test_a_caller_in_node_hands_an_event_over(fleet: Fleet, tmp_path: Path) -> None:
    """The same by a Celery client from npm."""
    shutil.copytree(EXAMPLES / "node", tmp_path / "node")
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"],
        cwd=tmp_path / "node",
        capture_output=True,
        timeout=120,
        check=True,
    )
    person = _stranger(fleet)
    event = _event(person, "from-node")
    command = ["node", "hand_over.mjs", person.sub, person.calendar_id]

    printed = _run(fleet, command, event, tmp_path / "node", CRONOFY_REFRESH_TOKEN=person.refresh_token)

    assert json.loads(printed)["state"] == "pending"
    person.stick("from-node", on=False)
    person.outcome("assigned", "from-node")


@needs_redis_cli
def test_a_shell_script_with_plain_redis_has_an_event_watched(fleet: Fleet) -> None:
    """The message is written by hand, and the answer read from its key."""
    person = fleet.person(zoom("pro_zoom"))
    event = person.write("from-shell", "pro_zoom", timedelta(days=2))

    printed = _run(
        fleet,
        ["sh", "track.sh", person.sub, person.calendar_id],
        event,
        EXAMPLES / "shell",
        **_for_redis_cli(fleet),
    )

    assert json.loads(printed)["result"] is True
    person.outcome("assigned", "from-shell")


@needs_redis_cli
def test_a_shell_script_learns_that_its_payload_does_not_fit(fleet: Fleet) -> None:
    """An event without an id fails at once, with the reason."""
    done = subprocess.run(
        ["sh", "track.sh", "acc_x", "cal_x"],
        cwd=EXAMPLES / "shell",
        env=_environment(fleet, **_for_redis_cli(fleet)),
        input="{}",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "event.event_id must be a text" in done.stdout


def test_a_webhook_of_ones_own_hands_notifications_on(fleet: Fleet) -> None:
    """A signed notification that the Flask application received settles its event."""
    person = fleet.person(zoom("pro_zoom"))
    event_id = "by-webhook"
    person.write_and_track(event_id, "pro_zoom")
    body = json.dumps(
        {
            "notification": {"interactions": [{"type": "conferencing_assigned"}]},
            "event": {"event_id": event_id, "calendar_id": person.calendar_id},
        }
    )
    secret = fleet.env["RECONCILER_CRONOFY_CLIENT_SECRET"]
    signature = sign(body.encode(), [secret])
    before = int(fleet.redis.hget("reconciler:counters", "notifications:taken") or 0)

    with _webhook(fleet) as url:
        answer = httpx.post(url, content=body, headers={"Cronofy-HMAC-SHA256": signature}, timeout=20)

    assert answer.status_code == 204

    def taken() -> bool:
        return int(fleet.redis.hget("reconciler:counters", "notifications:taken") or 0) > before

    wait_until(taken, 15, what="the notification to be taken")
    person.outcome("assigned", event_id)


def test_a_webhook_of_ones_own_says_so_when_the_broker_is_away(fleet: Fleet) -> None:
    """503 with a time to come back, so that Cronofy sends it again."""
    with _webhook(fleet, BROKER_URL=f"redis://127.0.0.1:{free_port()}/0") as url:
        answer = httpx.post(url, content="{}", timeout=30)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")


def test_a_consumer_group_works_on_each_outcome_once(fleet: Fleet) -> None:
    """What a consumer took and never acknowledged, another works on; nothing is worked on twice."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("consumed", "pro_zoom")
    person.outcome("assigned", "consumed")
    group = f"billing-{os.urandom(4).hex()}"

    first = _consume(fleet, group, "one")
    second = _consume(fleet, group, "two")

    assert [line for line in first.splitlines() if line.startswith("assigned consumed ")] != []
    assert "assigned consumed " not in second
    pending: Any = fleet.redis.xpending("reconciler:outcomes", group)
    assert pending["pending"] == 0


def test_a_consumer_takes_over_what_another_left_behind(fleet: Fleet) -> None:
    """Entries that a dead consumer holds for longer than a minute are another's."""
    person = fleet.person(zoom("pro_zoom"))
    person.write_and_track("left", "pro_zoom")
    person.outcome("assigned", "left")
    group = f"billing-{os.urandom(4).hex()}"
    fleet.redis.xgroup_create("reconciler:outcomes", group, id="0")
    fleet.redis.xreadgroup(group, "dead", {"reconciler:outcomes": ">"})
    held: Any = fleet.redis.xpending_range("reconciler:outcomes", group, "-", "+", 10_000)
    fleet.redis.xclaim(
        "reconciler:outcomes", group, "dead", 0, [entry["message_id"] for entry in held], idle=120_000
    )

    printed = _consume(fleet, group, "alive")

    assert "assigned left " in printed


def _consume(fleet: Fleet, group: str, consumer: str) -> str:
    command = [sys.executable, "consume.py", group, consumer, "--until-idle"]
    return _run(fleet, command, {}, EXAMPLES / "outcomes")


@contextmanager
def _webhook(fleet: Fleet, **env: str) -> Iterator[str]:
    """The Flask application, served by its own development server."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(port)],
        cwd=EXAMPLES / "webhook",
        env={**_environment(fleet), **env},
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
    """The table of the examples names each program, and so does this module."""
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
