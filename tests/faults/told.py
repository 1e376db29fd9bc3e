"""What tells an operator of a fault, and the table of it in ``docs/watching.md``.

    python -m tests.faults.told [NAME...]

writes the table, or shows the rows of some faults. Each fault is made for real at a running fleet: worker,
beat, `serve`, and Prometheus with our alerts, if it is on this machine. Then six places are watched until all
say the same: `status`, the board, `doctor`, the log, the alert and the runbook.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from redis.exceptions import RedisError

from benchmarks.report import put
from config.settings import load_settings
from tests.acceptance.harness import CLIENT_ID, CLIENT_SECRET, Fleet, Person, running_fleet, zoom
from tests.acceptance.processes import Child
from tests.acceptance.served import Served
from tests.contract.decisions import markdown
from tests.contract.documents import ROOT, text_of
from tests.faults.clocks import LIBRARY, Clocks
from tests.faults.fleets import SETTINGS
from tests.faults.server import Server, running_server
from tests.faults.slowly import Slowly, slowly
from tests.ports import free_port
from tests.receivers import SECRET, Receiver, receiving
from tests.waiting import wait_until
from worker.cronofy.budget import Budget
from worker.ledger.opening import keyless_ledger
from worker.ledger.records import EventKey, to_ms
from worker.trouble import WORDS, Kind

MANUAL = ROOT / "docs" / "watching.md"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
#: All six places say so within this many seconds of the fault.
A_MINUTE = 60.0
#: A person with events that Cronofy is asked about all the time.
PEOPLE = 12
TOKEN = "a-token-for-the-test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HEADINGS = ("fault", "what all say", "to type", "log", "alert and runbook", "said by all after")


@dataclass
class Stage:
    """A healthy fleet, and what can be done to it."""

    home: Path
    fleet: Fleet
    server: Server
    way: Slowly
    clocks: Clocks
    worker: Child
    beat: Child
    serve: Served
    #: What takes outcomes.
    receiver: Receiver
    #: Where Prometheus answers; empty if it is not on this machine.
    prometheus: str
    people: list[Person] = field(default_factory=list)

    def start_worker(self, *args: str) -> None:
        """Start one, in place of the former."""
        self.worker = self._start("worker", *args)

    def start_beat(self) -> None:
        """Start it, in place of the former."""
        self.beat = self._start("beat")

    def _start(self, role: str, *args: str) -> Child:
        child = Child(self.home, self.fleet.env | self.clocks.of_process(role), self.fleet.log, role, *args)
        self.fleet.children.append(child)
        return child

    def end(self, child: Child) -> None:
        """End one of its processes."""
        self.fleet.children.remove(child)
        child.end()

    def mail_somebody(self) -> None:
        """Have an email sent: to a user whose profile is disconnected."""
        person = self.fleet.person(zoom("pro_zoom", connected=False))
        person.write_and_track("asked", "pro_zoom")


@dataclass(frozen=True, slots=True)
class Fault:
    """How a fault is made and ended, and what it is called."""

    kind: Kind
    make: Callable[[Stage], object]
    end: Callable[[Stage], object]
    #: The event in the log.
    log: str = "trouble.began"
    #: What else may rightly be said meanwhile.
    also: frozenset[Kind] = frozenset()


def _lose_disk(stage: Stage) -> None:
    home = stage.home / "redis"
    shutil.copytree(home, stage.home / "kept")
    shutil.rmtree(home)
    stage.server.client.set("changed", 1)

    def failed() -> bool:
        return bool(stage.server.client.info("persistence")["rdb_last_bgsave_status"] == "err")

    wait_until(failed, 20, what="a failed save")


def _new_disk(stage: Stage) -> None:
    stage.server.kill()
    (stage.home / "kept").rename(stage.home / "redis")
    stage.server.start()


def _fail(stage: Stage) -> None:
    stage.fleet.control.add_fault("status", match={"path_prefix": "/v1"}, status=500)


def _refuse_secret(stage: Stage) -> None:
    stage.fleet.control.set_settings(client_secrets=["another"])
    for person in stage.people:
        stage.fleet.control.expire_access_token(person.sub)


def _refuse_mail(stage: Stage) -> None:
    stage.fleet.control.set_mailbox(refuse_status=451, refuse_at="connect")
    stage.mail_somebody()


def _spend(stage: Stage) -> None:
    settings = load_settings(redis_url=stage.server.url)
    limit = int(stage.fleet.env["RECONCILER_API_PER_MINUTE"])
    place = f"{CLIENT_ID}@{stage.fleet.env['RECONCILER_CRONOFY_API_URL']}"
    budget = Budget(
        stage.server.client,
        settings.key_prefix,
        place,
        # Somebody who does not keep to it.
        per_second=100 * limit,
        per_minute=100 * limit,
        share=1,
    )
    budget.take(int(limit * settings.api_share))


def _poison(stage: Stage, event_id: str = "poisoned") -> None:
    person = stage.people[0]
    person.stick(event_id)
    person.write_and_track(event_id, "pro_zoom")
    _rewrite(stage, "never")


def _cure(stage: Stage) -> None:
    _rewrite(stage, None)
    letters = json.loads(stage.fleet.run("dead-letters", "--json").stdout)
    for letter in letters:
        assert stage.fleet.run("dead-letters", "replay", letter["id"]).returncode == 0


def _rewrite(stage: Stage, asked_at: Any) -> None:
    """Give the record a value that no look can work with, or a proper one again."""
    ledger = keyless_ledger(stage.server.client, load_settings(redis_url=stage.server.url))
    person = stage.people[0]
    key = EventKey(person.calendar_id, "poisoned")

    def rewritten() -> bool:
        stored = ledger.find_pending(person.sub, key)
        assert stored is not None
        changed = replace(stored.event, asked_at=asked_at or to_ms(ledger.now()))
        return bool(ledger.take_up(person.sub, stored, changed))

    # A look may have changed it in between.
    wait_until(rewritten, 10, 0.05, what="the record")


def _take_no_outcomes(stage: Stage) -> None:
    stage.receiver.answer = lambda _: 500
    stage.fleet.person(zoom("pro_zoom"))


def _bad_payload(stage: Stage) -> None:
    stage.fleet.caller.failure("track", sub="acc")


def _drop_letters(stage: Stage) -> None:
    assert stage.fleet.run("dead-letters", "drop", "--all", "--yes").returncode == 0


def _consume_no_mail(stage: Stage) -> None:
    stage.end(stage.worker)
    stage.start_worker("-Q", "reconciler.urgent,reconciler.intake,reconciler.looks")


def _replace_worker(stage: Stage) -> None:
    stage.end(stage.worker)
    stage.start_worker()


#: What falls due meanwhile is late after a minute, and `status` names the fault as the reason.
_AFTER = frozenset({Kind.LOOKS_LATE})

FAULTS: dict[str, Fault] = {
    "Redis is down": Fault(
        Kind.REDIS_AWAY, lambda s: s.server.kill(), lambda s: s.server.start(), "redis.unavailable"
    ),
    "Redis is full": Fault(
        Kind.REDIS_FULL,
        lambda s: s.server.set(maxmemory="1"),
        lambda s: s.server.set(maxmemory="0"),
        "redis.unavailable",
    ),
    "Redis is a read-only replica": Fault(
        Kind.REDIS_READ_ONLY,
        lambda s: s.server.client.replicaof("127.0.0.1", "1"),
        lambda s: s.server.client.replicaof("NO", "ONE"),
        "redis.unavailable",
    ),
    "Redis has no disk": Fault(Kind.REDIS_NO_DISK, _lose_disk, _new_disk, "redis.unavailable"),
    "Redis is slow": Fault(
        Kind.REDIS_SLOW,
        lambda s: setattr(s.way, "delay", 0.15),
        lambda s: setattr(s.way, "delay", 0.0),
        also=_AFTER,
    ),
    "Beat is dead": Fault(Kind.SWEEPS_STOPPED, lambda s: s.end(s.beat), lambda s: s.start_beat()),
    "No worker": Fault(Kind.NO_WORKER, lambda s: s.end(s.worker), lambda s: s.start_worker()),
    "Nobody consumes a queue": Fault(Kind.QUEUE_UNCONSUMED, _consume_no_mail, _replace_worker),
    "Cronofy answers 500": Fault(
        Kind.CRONOFY_FAILING, _fail, lambda s: s.fleet.control.clear_faults(), also=_AFTER
    ),
    "Wrong client secret": Fault(
        Kind.CLIENT_REFUSED,
        _refuse_secret,
        lambda s: s.fleet.control.set_settings(client_secrets=[CLIENT_SECRET]),
        also=_AFTER,
    ),
    "The mail server refuses": Fault(Kind.MAIL_STUCK, _refuse_mail, lambda s: s.fleet.control.set_mailbox()),
    "The outcome URL answers 500": Fault(
        Kind.OUTCOMES_OWED, _take_no_outcomes, lambda s: setattr(s.receiver, "answer", lambda _: 204)
    ),
    "A dead letter": Fault(Kind.DEAD_LETTERS, _bad_payload, _drop_letters),
    "The budget is spent": Fault(Kind.BUDGET_SPENT, _spend, lambda _: None, also=_AFTER),
    "Cronofy asked for a pause": Fault(
        Kind.CRONOFY_PAUSE,
        lambda s: s.fleet.control.add_fault(
            "status", match={"path_prefix": "/v1"}, status=429, retry_after=3
        ),
        lambda s: s.fleet.control.clear_faults(),
        also=_AFTER,
    ),
    "An event makes every look fail": Fault(
        Kind.EVENTS_PARKED, _poison, _cure, also=frozenset({Kind.INCIDENTS})
    ),
    "The clock of a worker's host is off by an hour": Fault(
        Kind.CLOCK_WRONG, lambda s: s.clocks.set("worker", 3600), lambda s: s.clocks.set("worker", 0)
    ),
    "The fleet is paused": Fault(
        Kind.FLEET_PAUSED, lambda s: s.fleet.run("pause"), lambda s: s.fleet.run("resume"), also=_AFTER
    ),
    "The clock of Redis's host is off by an hour": Fault(
        Kind.CLOCK_WRONG,
        lambda s: s.clocks.set("server", 3600),
        lambda s: s.clocks.set("server", 0),
        # Until workers have reported by the new time, which takes ten seconds.
        also=_AFTER | {Kind.NO_WORKER},
    ),
}
#: Needs Debian's faketime, which sets the server's clock.
NEEDS_LIBRARY = "The clock of Redis's host is off by an hour"


@contextmanager
def staged(home: Path) -> Iterator[Stage]:
    """A healthy fleet with people whose events Cronofy is asked about all the time."""
    clocks = Clocks(home)
    with ExitStack() as stack:
        environment = os.environ | clocks.of_server()
        server = stack.enter_context(running_server(home / "redis", env=environment, save='"1 1"'))
        way = stack.enter_context(slowly(server.port))
        url = f"redis://127.0.0.1:{way.port}/0"
        tokens = {"BOARD_TOKEN": TOKEN, "METRICS_TOKEN": TOKEN}
        receiver = stack.enter_context(receiving())
        outcomes = {"OUTCOME_URL": receiver.url, "OUTCOME_SECRET": SECRET}
        limits = {"API_PER_MINUTE": "6000", "ESCALATE_AFTER": "86400"}
        settings = {**SETTINGS, **tokens, **outcomes, **limits}
        running = running_fleet(home, "worker", settings, url, more=clocks.of_process("worker"))
        fleet = stack.enter_context(running)
        fleet.control.set_settings(per_second=0)
        serve = Served(fleet.start)
        prometheus = stack.enter_context(_prometheus(home, serve.port))
        beat = Child(home, fleet.env | clocks.of_process("beat"), fleet.log, "beat")
        fleet.children.append(beat)
        worker = fleet.children[0]
        stage = Stage(home, fleet, server, way, clocks, worker, beat, serve, receiver, prometheus)
        for _ in range(PEOPLE):
            person = fleet.person(zoom("pro_zoom"))
            person.stick("waits")
            person.write_and_track("waits", "pro_zoom")
            stage.people.append(person)
        is_well(stage)
        yield stage
        with suppress(RedisError):
            server.set(save="")


@contextmanager
def _prometheus(home: Path, serves: int) -> Iterator[str]:
    """Prometheus with our alerts, which it evaluates every second; yields where it answers."""
    binary = shutil.which("prometheus")
    if binary is None:
        yield ""
        return
    folder, port = home / "prometheus", free_port()
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    (folder / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 1s}}
rule_files: [{ALERTS}]
scrape_configs:
  - job_name: reconciler
    static_configs: [{{targets: ["127.0.0.1:{serves}"]}}]
    authorization: {{credentials_file: {folder / "token"}}}
"""
    )
    address = f"127.0.0.1:{port}"
    options = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (home / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([binary, *options], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def is_well(stage: Stage) -> None:
    """Wait until nothing needs attention, and no alert is there but the one for a quarter of an hour."""

    def well() -> bool:
        shown = stage.fleet.run("status", "--json")
        alerts = [each for each in _alerts(stage) if each["labels"]["cause"] != Kind.CRONOFY_PAUSE]
        if shown.returncode or json.loads(shown.stdout)["attention"] or alerts:
            return False
        # The log has said that it is over, and will tell of it again.
        return not stage.server.client.hlen("reconciler:troubles")

    wait_until(well, 150, 1, what="a fleet that needs no attention")


def told(stage: Stage, fault: Fault) -> float:
    """Make the fault, wait until all say so, and end it; returns how many seconds they took.

    AssertionError names the places that did not say so in time, or what looked broken that was not.
    """
    seen, missing = stage.fleet.log.stat().st_size, set(PLACES)
    begun = time.monotonic()
    fault.make(stage)
    try:
        while missing:
            missing -= {place for place in missing if PLACES[place](stage, fault, seen)}
            took = time.monotonic() - begun
            late = f"after {took:.0f} s, not said by {', '.join(sorted(missing))}"
            assert not missing or took < A_MINUTE, late
            if missing:
                # What is watched passes through this process.
                time.sleep(0.2)
        blamed = _blamed(stage) - {fault.kind, *fault.also}
        assert blamed == set(), f"looks broken as well: {', '.join(sorted(blamed))}"
    finally:
        fault.end(stage)
    is_well(stage)
    return took


def _in_status(stage: Stage, fault: Fault, _: int) -> bool:
    shown = stage.fleet.run("status")
    text, words = " ".join((shown.stdout + shown.stderr).split()), WORDS[fault.kind]
    return words.sentence in text and words.command in text


def _on_board(stage: Stage, fault: Fault, _: int) -> bool:
    text = unescape(_get(f"{stage.serve.url}/"))
    return WORDS[fault.kind].sentence in text


def _by_doctor(stage: Stage, fault: Fault, _: int) -> bool:
    found = json.loads(stage.fleet.run("doctor", "--json").stdout)
    said = WORDS[fault.kind].sentence
    return any(each["what"].startswith(said) for each in found)


def _in_log(stage: Stage, fault: Fault, seen: int) -> bool:
    with stage.fleet.log.open("rb") as file:
        file.seek(seen)
        # The last line may be half written.
        whole = file.read().decode().split("\n")[:-1]
    lines = [json.loads(line) for line in whole if line.startswith("{")]
    said = WORDS[fault.kind].sentence
    found = [line for line in lines if line["event"] == fault.log and line.get("says", "").startswith(said)]
    return bool(found)


def _by_alert(stage: Stage, fault: Fault, _: int) -> bool:
    if not stage.prometheus:
        return True
    said = WORDS[fault.kind].sentence
    found = [each for each in _alerts(stage) if each["labels"]["cause"] == fault.kind]
    return any(each["annotations"]["summary"] == said for each in found)


def _in_runbook(_: Stage, fault: Fault, __: int) -> bool:
    text = " ".join(text_of("docs/runbook.md").split())
    return f"**{WORDS[fault.kind].sentence}**" in text


PLACES: dict[str, Callable[[Stage, Fault, int], bool]] = {
    "status": _in_status,
    "the board": _on_board,
    "doctor": _by_doctor,
    "the log": _in_log,
    "the alert": _by_alert,
    "the runbook": _in_runbook,
}


def _blamed(stage: Stage) -> set[str]:
    """What `status` says needs attention, by name."""
    shown = stage.fleet.run("status", "--json")
    return {each["trouble"] for each in json.loads(shown.stdout)["attention"]} if shown.stdout else set()


def _alerts(stage: Stage) -> list[dict[str, Any]]:
    """The alerts with a cause, pending or firing."""
    if not stage.prometheus:
        return []
    found = json.loads(_get(f"{stage.prometheus}/api/v1/alerts"))["data"]["alerts"]
    return [each for each in found if "cause" in each["labels"]]


def _get(url: str) -> str:
    try:
        return httpx.get(url, headers=BEARER, timeout=10, trust_env=False).text
    except httpx.HTTPError:
        return '{"data": {"alerts": []}}'


def alerts_of(kind: Kind) -> str:
    """The alert for a trouble, with its section of the runbook, and how urgent it is."""
    found = re.findall(
        rf"- alert: (\w+)\n(?:.*\n){{1,4}}? *labels: {{severity: (\w+), cause: {kind.value}}}",
        ALERTS.read_text(),
    )
    [alert] = {alert for alert, _ in found}
    urgency = " or ".join(sorted({severity for _, severity in found}))
    return f"[`{alert}`](runbook.md#{alert.lower()}), {urgency}"


def row(name: str, took: float) -> tuple[str, ...]:
    """The row of a fault."""
    fault = FAULTS[name]
    words = WORDS[fault.kind]
    return (
        name,
        words.sentence,
        f"`{words.command}`",
        f"`{fault.log}`",
        alerts_of(fault.kind),
        f"{took:.0f} s",
    )


def main(names: list[str]) -> None:
    """Write the table; with names, only show their rows."""
    rows = []
    with TemporaryDirectory() as folder, staged(Path(folder)) as stage:
        for name in names or FAULTS:
            if name == NEEDS_LIBRARY and not LIBRARY.exists():
                sys.exit("faketime is needed: it sets the clock of the Redis server.")
            rows.append(row(name, told(stage, FAULTS[name])))
            print(*rows[-1], sep=" | ", flush=True)
    if not names:
        put(MANUAL, "told", markdown(HEADINGS, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
