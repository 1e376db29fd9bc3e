"""Makes the documents' pictures: `make screenshots`. Needs curl, jq and Chromium, on PATH or in CHROMIUM.

They show the demo's world as it ends. Only the day before it is made up, since a demo takes seconds; nothing
else is.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from config.settings import Settings, load_settings
from config.terminal import Line
from sandbox.demo.show import Stage, play, stage
from worker.commands.doctor import finding_lines
from worker.diagnosis.model import Cause
from worker.doctor.examination import examine
from worker.explain.case import Case
from worker.explain.explanation import ask, in_lines
from worker.ledger.figures import SAMPLED_EVERY, SAMPLES_KEPT
from worker.ledger.packing import CAUSES
from worker.ledger.records import EventKey, to_ms
from worker.status.snapshot import read_status
from worker.status.table import status_lines
from worker.web.board.urls import account_url, event_url

TOKEN = "a-token-of-the-board"  # noqa: S105
FOLDER = Path(__file__).parent / "images"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, NARROW = {"width": 1100, "height": 1040}, {"width": 360, "height": 800}
COLUMNS = 80
TERMINAL = (
    "body { margin: 0 } span { background: none !important }"
    "pre { margin: 0; padding: 14px; width: max-content; font: 14px/1.3 monospace; background: #0c0c0c; "
    "color: #d9d9d9 }"
)


def main() -> None:
    """Play the demo, and take its pictures."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is needed to make the pictures: put it on PATH, or its path into CHROMIUM.")
    FOLDER.mkdir(exist_ok=True)
    with stage(1.0) as running, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        demo = _terminal()
        if not play(running, _prompted(demo, "reconciler demo")):
            sys.exit("The demo did not end as it should.")
        _make_up_a_day(running)
        # The table, without the emails after it.
        _shoot_terminal(browser, demo, "demo", until="╭")
        _shoot_terminal(browser, _problem_and_answer(running), "answer", until="History")
        for name, said in _commands(running).items():
            _shoot_terminal(browser, said, name)
        with _served(running) as url:
            _shoot_board(browser, url)
        browser.close()


def _terminal() -> Console:
    return Console(record=True, width=COLUMNS, file=StringIO(), highlight=False)


def _rich(lines: Iterable[Line]) -> Text:
    return Text("\n").join(Text.assemble(*line) for line in lines)


def _prompted(console: Console, command: str) -> Console:
    console.print(Text(f"$ {command}", "bold green"), soft_wrap=True)
    return console


def _problem_and_answer(running: Stage) -> Console:
    """What Cronofy says about an event that waits, and what we say."""
    sub, calendar_id, event_id = "hana", "cal_hana", "teams-briefing"
    read = (
        'curl -s "$CRONOFY/v1/events?tzid=UTC&only_managed=true" \\\n'
        """    -H "Authorization: Bearer $TOKEN" | jq -c '.events[0] | {event_id, conferencing}'"""
    )
    account = running.control.account(sub)
    environment = {
        **os.environ,
        "CRONOFY": running.addresses["Cronofy sandbox"],
        "TOKEN": account["access_token"],
    }
    answer = subprocess.run(["bash", "-c", read], env=environment, capture_output=True, text=True, check=True)  # noqa: S603, S607
    console = _prompted(_terminal(), read)
    console.print(answer.stdout, markup=False)
    _prompted(console, f"reconciler explain {sub} {calendar_id} {event_id}")
    case = ask(_settings(running), running.ledger.redis, sub, EventKey(calendar_id, event_id), live=True)
    if not isinstance(case, Case):
        sys.exit("The event to explain is not tracked.")
    console.print(_rich(in_lines(case, COLUMNS)), soft_wrap=True)
    return console


def _settings(running: Stage) -> Settings:
    values = {name.removeprefix("RECONCILER_").lower(): value for name, value in running.environment.items()}
    return load_settings(**values)


def _commands(running: Stage) -> dict[str, Console]:
    """What the commands print, about the demo's world."""
    settings = _settings(running)
    prints = {
        "status": status_lines(read_status(running.ledger.redis, settings)),
        "doctor": finding_lines(examine(settings), below=True),
    }
    said = {}
    for name, lines in prints.items():
        said[name] = _prompted(_terminal(), f"reconciler {name}")
        said[name].print(_rich(lines))
    return said


def _make_up_a_day(running: Stage) -> None:
    """A day of samples that ends as the demo does."""
    rng, ledger = random.Random(5), running.ledger  # noqa: S311
    counters = ledger.counters()
    key, now = f"{ledger.prefix}:backlog", ledger.now()
    ledger.redis.delete(key)
    swing = {
        Cause.GENERATING: (3.0, 5.0, 0.0),
        Cause.CREDENTIALS_EXPIRED: (2.0, 3.0, 1.5),
        Cause.PROVIDER_OUTAGE: (-3.0, 7.0, 2.6),
        Cause.PROFILE_REMOVED: (1.2, 1.4, 3.0),
    }
    for n in range(int(SAMPLES_KEPT / SAMPLED_EVERY) - 1, 0, -1):
        part, fields = n * SAMPLED_EVERY / SAMPLES_KEPT, {}
        for place, cause in enumerate(CAUSES):
            last = counters.get(f"cause:{place}", 0)
            count = float(last)
            if cause in swing:
                base, height, shift = swing[cause]
                wave = base + height * math.sin(2 * math.pi * part * 1.3 + shift) + rng.uniform(-0.6, 0.6)
                count = last + max(0.0, wave) * min(1.0, n / 24)
            fields[str(place)] = round(count)
        fields["pending"] = sum(fields.values())
        at = to_ms(now - n * SAMPLED_EVERY - timedelta(seconds=1))
        ledger.redis.xadd(key, {name: count for name, count in fields.items() if count}, id=f"{at}-0")


@contextmanager
def _served(running: Stage) -> Iterator[str]:
    """`reconciler serve` beside the demo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "worker.cli", "serve", "--port", str(port)]
    environment = {**os.environ, **running.environment, "RECONCILER_BOARD_TOKEN": TOKEN}
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603
        try:
            url, end = f"http://127.0.0.1:{port}", time.monotonic() + 20
            while time.monotonic() < end:
                try:
                    httpx.get(f"{url}/healthz")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def _shoot_board(browser: Browser, url: str) -> None:
    event = url + event_url("fay", "cal_fay", "board-meeting")
    for name, address, scheme, size in [
        ("board-light", url, "light", WIDE),
        ("board-dark", url, "dark", WIDE),
        ("board-narrow", url, "light", NARROW),
        ("board-event", event, "light", {**WIDE, "height": 800}),
        ("board-account", f"{url}{account_url('hana')}", "light", WIDE),
        ("board-accounts", f"{url}/accounts", "dark", {**WIDE, "height": 640}),
        ("board-outcomes", f"{url}/outcomes", "light", {**WIDE, "height": 640}),
        ("board-account-narrow", f"{url}{account_url('hana')}", "dark", NARROW),
    ]:
        page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=1)  # type: ignore[arg-type]
        page.context.request.post(f"{url}/board/sign-in", form={"token": TOKEN}, max_redirects=0)
        page.goto(address)
        page.screenshot(path=FOLDER / f"{name}.png")
        page.close()


def _shoot_terminal(browser: Browser, console: Console, name: str, *, until: str = "") -> None:
    """Take a picture of what was printed, or of what is above the line that begins so."""
    lines = console.export_html(theme=MONOKAI, inline_styles=True, code_format="<pre>{code}</pre>")
    if until:
        above = lines.partition(until)[0].rpartition("\n")[0].rstrip()
        lines = f"{above}\n  …</pre>"
    page = browser.new_page(viewport={"width": 760, "height": 200})
    page.set_content(f"<!doctype html><style>{TERMINAL}</style>{lines}")
    page.locator("pre").screenshot(path=FOLDER / f"{name}.png")
    page.close()


if __name__ == "__main__":
    main()
