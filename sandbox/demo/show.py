"""The whole system on one machine, from tracking to settled.

Only Cronofy is simulated: a real Redis server, a mailbox, a worker, beat and the pages in processes of their
own, and a caller that has only Celery.
"""

from __future__ import annotations

import gc
import os
import re
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from cryptography.fernet import Fernet
from rich.console import Console, Group, OverflowMethod
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from config.settings import clear_environment, load_settings
from sandbox.control.control import Control
from sandbox.demo.cast import (
    ANSWERED_FOR,
    CAST,
    CAUGHT,
    CUT_OFF,
    DELETED,
    HELD_UP,
    MOVED,
    MOVED_BY,
    POSTPONED,
    SOON,
    Part,
    make_people,
    move,
    write_events,
)
from sandbox.demo.receiver import receiver
from sandbox.demo.visitor import connect_service, decide_by_link
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from worker.diagnosis.model import Cause, State
from worker.diagnosis.times import parse_event_time
from worker.host.embedded import embedded_server, free_port
from worker.host.supervisor import Crew
from worker.ledger.ledger import Ledger
from worker.ledger.opening import open_ledger
from worker.ledger.outcomes import OutcomeType
from worker.ledger.records import EventKey, TrackedEvent
from worker.report.summary import read_report
from worker.report.table import report_lines
from worker.web.board.sign_in import PATH as SIGN_IN

#: The demo gives up after this; on a machine that is not busy it takes about a tenth of it.
LONGEST_SECONDS = 120.0
OPERATOR = "operator@example.org"
_LINK = re.compile(r"https?://\S+/(relink|connect|decide)/\S+")
_STYLES = {State.ASSIGNED: "green", State.PENDING: "yellow", State.CLOSED: "dim"}


def run(*, speed: float, keep: bool) -> int:
    """Run the demo; returns the exit code: 0 only if every event ended as it should."""
    console = Console()
    with ExitStack() as stack:
        with console.status(
            "Starting a Redis server, the Cronofy sandbox, a mailbox, a worker, beat and the pages"
        ):
            running = stack.enter_context(stage(speed))
        ok = play(running, console)
        if keep:
            _keep(running, console)
    return 0 if ok else 1


@dataclass(slots=True)
class Stage:
    """Everything that is running."""

    control: Control
    ledger: Ledger
    client: Celery
    tokens: Mapping[str, str]
    addresses: Mapping[str, str]
    log: Path
    started: datetime
    #: The settings of the processes.
    environment: Mapping[str, str]
    #: Where notifications are sent.
    subscription: str = ""
    #: What people did, and what Cronofy did meanwhile.
    done: set[str] = field(default_factory=set)

    def once(self, what: str) -> bool:
        """Whether this was not done yet; from now on it counts as done."""
        is_new = what not in self.done
        self.done.add(what)
        return is_new

    def send(
        self, task: str, queue: str = "intake", *, ignore_result: bool = True, **kwargs: Any
    ) -> AsyncResult[Any]:
        """Enqueue by name without waiting, as any other service would."""
        return self.client.send_task(
            f"conferencing.{task}", kwargs=kwargs, queue=f"reconciler.{queue}", ignore_result=ignore_result
        )


@contextmanager
def stage(speed: float) -> Iterator[Stage]:
    """The whole system and its world, before anything happens."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reconciler-demo-")))
        # Ignore settings of a real installation, from the environment or a .env file.
        stack.enter_context(chdir(home))
        clear_environment()
        # Nor does a proxy lead to this machine's own loopback.
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]
        redis_url = stack.enter_context(embedded_server(home))
        options = SandboxOptions(
            client_id="demo",
            client_secrets=("demo-secret",),
            generation_seconds=2.5,
            retry_seconds=2,
            speed=speed,
        )
        sandbox = stack.enter_context(RunningSandbox(options))
        port = free_port()
        serve_url = f"http://127.0.0.1:{port}"
        given = _settings(redis_url, sandbox, home, speed, serve_url)
        environment = {f"RECONCILER_{name}": value for name, value in given.items()}
        client = Celery(broker=redis_url, backend=redis_url)
        stack.callback(client.close)
        # A result that is collected later looks for the server that has ended by then.
        stack.callback(gc.collect)
        log = home / "processes.log"
        output = stack.enter_context(log.open("ab"))
        patience = timedelta(seconds=20)
        roles = {"worker": ["worker"], "beat": ["beat"], "serve": ["serve", "--port", str(port)]}
        crew = Crew(roles, environment, patience, output)
        stack.callback(crew.end)
        crew.start()

        ledger = open_ledger(load_settings(**{name.lower(): value for name, value in given.items()}))
        stack.callback(ledger.redis.close)
        running = Stage(
            control=sandbox.control,
            ledger=ledger,
            client=client,
            tokens=make_people(sandbox.control),
            addresses={
                "Cronofy sandbox": sandbox.url,
                "board": f"{serve_url}{SIGN_IN}#{environment['RECONCILER_BOARD_TOKEN']}",
                "mailbox": f"{sandbox.url}/mail (SMTP: {sandbox.smtp_url})",
                "Redis": redis_url,
                "log": str(log),
            },
            log=log,
            started=datetime.now(UTC),
            environment=environment,
        )

        def hand_over(body: str, signature: str) -> None:
            running.send("receive_notification", body=body, signature=signature)

        running.subscription = stack.enter_context(receiver(hand_over))
        yield running


def _settings(
    redis_url: str, sandbox: RunningSandbox, home: Path, speed: float, serve_url: str
) -> dict[str, str]:
    """As in production, but with seconds instead of hours."""
    seconds = {
        "RECHECK_MIN": 1.0,
        "RECHECK_MAX": 4.0,
        "SWEEP_EVERY": 1.0,
        "GRACE": 3.0,
        "ESCALATE_AFTER": 8.0,
        "ESCALATE_BEFORE": 3.0,
        "ESCALATION_DIGEST": 3.0,
    }
    return {name: f"{value / speed:g}" for name, value in seconds.items()} | {
        "REDIS_URL": redis_url,
        "BROKER_URL": redis_url,
        "VAULT_KEYS": Fernet.generate_key().decode(),
        "BOARD_TOKEN": secrets.token_urlsafe(24),
        "CRONOFY_CLIENT_ID": "demo",
        "CRONOFY_CLIENT_SECRET": "demo-secret",
        "CRONOFY_API_URL": sandbox.url,
        "SMTP_URL": sandbox.smtp_url,
        "APPLICATION_NAME": "Acme Hiring",
        "MAIL_FROM": "Conferencing <conferencing@example.org>",
        "ESCALATION_EMAIL": OPERATOR,
        "WEBHOOK_URL": serve_url,
        "BOARD_URL": serve_url,
        "FALLBACK": "explicit",
        "FALLBACK_URL": "https://rooms.example.org/{key}",
        "FALLBACK_BEFORE": "PT30M",
        "DATA_DIR": str(home),
        "LOG_FORMAT": "console",
    }


def play(stage: Stage, console: Console) -> bool:
    """Run everything, shown on the console; returns whether every event ended as it should."""
    console.print(
        f"[bold]{len(CAST)} events over {len(stage.tokens)} accounts[/bold] wait for their conferences. "
        "A caller connects the accounts and tracks the events.\n"
    )
    for sub, token in stage.tokens.items():
        connected = stage.send(
            "connect_account",
            sub=sub,
            refresh_token=token,
            email=f"{sub}@example.org",
            name=sub.capitalize(),
            ignore_result=False,
        )
        connected.get(timeout=30)
    write_events(stage.control, stage.started, stage.subscription)
    for part in CAST:
        stage.send(
            "track",
            sub=part.sub,
            calendar_id=part.calendar_id,
            event=part.body(stage.started, stage.subscription),
            provider_name=part.provider_name,
        )
    end = time.monotonic() + LONGEST_SECONDS
    began = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            views = _views(stage)
            over = all(not view.missing for view in views) or time.monotonic() > end
            footer = _footer(stage, views, time.monotonic() - began)
            live.update(Group(table(views, live=not over), footer), refresh=console.is_terminal)
            if over:
                break
            _act(stage, views)
            time.sleep(0.2)
    console.print()
    _show_mails(stage, console)
    problems = [f"{view.part.name}: {view.missing}" for view in views if view.missing] + _checks(stage)
    for problem in problems:
        console.print(f"[bold red]UNEXPECTED[/bold red] {problem}", highlight=False, soft_wrap=True)
    if problems:
        console.print("The last lines of the processes' log:")
        console.print("\n".join(stage.log.read_text().splitlines()[-20:]), markup=False, highlight=False)
        return False
    _show_report(stage, console)
    seconds = time.monotonic() - began
    console.print(
        f"[bold green]Each of the {len(CAST)} events ended as expected[/bold green], in {seconds:.0f} s."
    )
    return True


def _act(stage: Stage, views: list[View]) -> None:
    """What happens in the meantime: people follow links and move events, a provider recovers."""
    outcomes = {view.part: view.outcomes for view in views}
    follow = {"relink": stage.control.follow_relink, "connect": connect_service, "decide": decide_by_link}
    for mail in stage.control.mail():
        link = _LINK.search(mail["text"])
        if link and stage.once(link.group()):
            follow[link[1]](link.group())
            if mail["to"] == [f"{CUT_OFF.sub}@example.org"]:
                stage.control.set_stuck(CUT_OFF.calendar_id, CUT_OFF.name, False)
    if OutcomeType.ESCALATED in outcomes[ANSWERED_FOR] and stage.once("acknowledge"):
        note = "They meet in the canteen."
        stage.send("acknowledge", "urgent", **ANSWERED_FOR.ids, note=note, by="olga")
    if OutcomeType.CLOSED in outcomes[POSTPONED] and stage.once("postpone"):
        move(stage.control, POSTPONED, stage.started + timedelta(days=2))
        stage.send("reconcile_event", "urgent", **POSTPONED.ids)
    if OutcomeType.DELAYED in outcomes[CAUGHT] and stage.once("bring forward"):
        move(stage.control, CAUGHT, stage.started + SOON)
    if OutcomeType.DELAYED in outcomes[HELD_UP] and stage.once("end the outage"):
        stage.control.end_outage("go_to")
    for view in views:
        part = view.part
        was_seen = view.event is not None and view.event.cause is part.end.found
        if part.is_slow and was_seen and stage.once(f"make a conference for {part.name}"):
            stage.control.set_stuck(part.calendar_id, part.name, False)


@dataclass(frozen=True, slots=True)
class View:
    """The current state of an event of the cast."""

    part: Part
    event: TrackedEvent | None
    outcomes: tuple[OutcomeType, ...]

    @property
    def state(self) -> State:
        last = self.event.last if self.event else None
        return State(last["state"]) if last else State.PENDING

    @property
    def causes(self) -> tuple[str, ...]:
        """The causes found so far, each once, in order."""
        known = {cause.value for cause in Cause}
        history = self.event.history if self.event else ()
        return tuple(dict.fromkeys(what for _, what, _ in history if what in known))

    @property
    def done(self) -> tuple[str, ...]:
        """What was done about it so far, in order."""
        others = (OutcomeType.ACCOUNT_CONNECTED, OutcomeType.ASSIGNED)
        return tuple(kind.value for kind in self.outcomes if kind not in others)

    @property
    def missing(self) -> str:
        """What still differs from the cast, or an empty text."""
        end = self.part.end
        if self.state is not end.state:
            return f"it is {self.state}, not {end.state}"
        if end.found.value not in self.causes:
            return f"{end.found} was not found, but {', '.join(self.causes) or 'nothing'}"
        absent = [kind.value for kind in end.outcomes if kind not in self.outcomes]
        return f"no outcome: {', '.join(absent)}" if absent else ""


def _views(stage: Stage) -> list[View]:
    found: dict[tuple[str, str | None], list[OutcomeType]] = {}
    for outcome in _outcomes(stage):
        found.setdefault((outcome["sub"], outcome["event_id"]), []).append(OutcomeType(outcome["type"]))
    views = []
    for part in CAST:
        stored = stage.ledger.find(part.sub, EventKey(part.calendar_id, part.name))
        # An outcome of the whole account counts for each of its events.
        kinds = [*found.get((part.sub, None), []), *found.get((part.sub, part.name), [])]
        views.append(View(part, stored.event if stored else None, tuple(kinds)))
    return views


def _outcomes(stage: Stage) -> list[dict[str, Any]]:
    return stage.ledger.outcomes.newest()[::-1]


def table(views: Sequence[View], *, live: bool) -> Table:
    """All that became of each event; while it is live only the latest, so that all fit 80 by 24."""
    overflow: OverflowMethod = "ellipsis" if live else "fold"
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("event" if live else "event, and its story", "found", "done", "now"):
        shown.add_column(heading, header_style="bold", overflow=overflow, no_wrap=live)
    for view in views:
        story = "" if live else f": {view.part.story}"
        latest = slice(-1, None) if live else slice(None)
        shown.add_row(
            Text.assemble(f"{view.part.name} of {view.part.sub}", (story, "dim")),
            "\n".join(view.causes[latest]) or "…",
            "\n".join(dict.fromkeys(view.done[latest])),
            Text(view.state.value, style=_STYLES[view.state]),
        )
    return shown


def _footer(stage: Stage, views: Sequence[View], seconds: float) -> Text:
    settled = sum(1 for view in views if not view.missing)
    rates = stage.control.rates()
    return Text(
        f"\n{settled} of {len(views)} as expected · {seconds:.0f} s · "
        f"{len(stage.control.requests())} calls to Cronofy, at most {rates['max_per_second']} in a second",
        style="dim",
    )


def _user_mails(stage: Stage) -> list[dict[str, Any]]:
    return [mail for mail in stage.control.mail() if OPERATOR not in mail["to"]]


def _show_mails(stage: Stage, console: Console) -> None:
    for mail in _user_mails(stage):
        title = f"To {', '.join(mail['to'])}: {mail['subject']}"
        console.print(Panel(Text(mail["text"].strip()), title=Text(title), title_align="left", expand=False))
    subjects = [mail["subject"] for mail in stage.control.mail() if OPERATOR in mail["to"]]
    if subjects:
        console.print(Text(f"And to the operator ({OPERATOR}):", style="bold"))
        for subject in subjects:
            console.print(Text(f"  - {subject}"), soft_wrap=True)
    console.print()


def _show_report(stage: Stage, console: Console) -> None:
    """What `reconciler report` will say once the demo's meetings have begun."""
    today = datetime.now(UTC).date()
    ledger = stage.ledger
    report = read_report(ledger.redis, ledger.keys, today - timedelta(days=7), today + timedelta(days=30))
    console.print("[bold]reconciler report[/bold], once these meetings have begun:")
    console.print(Text("\n".join(report_lines(report)) + "\n"), soft_wrap=True)


def _checks(stage: Stage) -> list[str]:
    """Problems that the events' own states do not show."""
    problems = []
    mails = [(address, mail["text"]) for mail in _user_mails(stage) for address in mail["to"]]
    asked = {part.sub for part in CAST if part.end.found is Cause.CREDENTIALS_EXPIRED}
    wanted = {f"{sub}@example.org" for sub in {part.sub for part in CAST if part.end.mails_user}}
    if len(mails) != len(wanted) or {address for address, _ in mails} != wanted:
        told = ", ".join(address for address, _ in mails) or "nobody"
        problems.append(
            f"emails to users went to {told}, instead of one to each of {', '.join(sorted(wanted))}"
        )
    elif not all(
        part.body(stage.started, "")["summary"] in dict(mails)["dana@example.org"]
        for part in CAST
        if part.sub == "dana"
    ):
        problems.append("the relink email does not name both of dana's meetings")
    kinds = [outcome["type"] for outcome in _outcomes(stage)]
    if kinds.count(OutcomeType.RELINKED) != len(asked):
        problems.append("there is not exactly one `relinked` outcome for each person")
    [answered_for] = [view for view in _views(stage) if view.part is ANSWERED_FOR]
    given = stage.ledger.acknowledgement(
        ANSWERED_FOR.sub, EventKey(ANSWERED_FOR.calendar_id, ANSWERED_FOR.name)
    )
    if given is None or answered_for.outcomes.count(OutcomeType.ESCALATED) != 1:
        problems.append("the event that somebody answers for was told of again")
    moved = parse_event_time(stage.control.event(MOVED.calendar_id, MOVED.name)["start"])
    planned = parse_event_time(MOVED.body(stage.started, "")["start"])
    if moved is None or planned is None or moved.instant != planned.instant + MOVED_BY:
        problems.append("the event moved by a person did not keep its new time")
    if not stage.control.event(DELETED.calendar_id, DELETED.name)["deleted"]:
        problems.append("the event deleted by its owner was created again")
    invited = [entry["email"] for entry in stage.control.invitations()]
    if len(invited) != len(set(invited)):
        problems.append("attendees were invited twice")
    return problems


def _keep(stage: Stage, console: Console) -> None:
    console.print("\n[bold]Everything is left running.[/bold] Ctrl-C ends it.")
    for name, address in stage.addresses.items():
        console.print(f"  {name:16} {address}", highlight=False, soft_wrap=True)
    # Only this user may read these files.
    settings = "".join(f"{name}='{value}'\n" for name, value in stage.environment.items())
    (stage.log.parent / ".env").write_text(settings)
    console.print("\nTo query it from another terminal:")
    asked = next(part for part in CAST if part.end.found is Cause.UNEXPLAINED)
    # With its place, since another terminal need not have it on its path.
    script = Path(sys.executable).with_name("reconciler")
    reconciler = str(script) if script.exists() else "reconciler"
    for command in (
        ["cd", str(stage.log.parent)],
        [reconciler, "status"],
        [reconciler, "doctor"],
        [reconciler, "explain", asked.sub, asked.calendar_id, asked.name],
        [reconciler, "incidents"],
    ):
        console.print(f"  {shlex.join(command)}", highlight=False, soft_wrap=True, markup=False)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("Ending.")
