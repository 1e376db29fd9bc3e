"""A board with content, and a browser to view it; skipped without Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.acceptance.processes import Child, environment
from tests.acceptance.served import Served
from tests.integration.ledgers import claim
from tests.integration.world import World, beginning
from worker.intake import accept
from worker.intake.payloads import ConnectAccount, TrackEvent
from worker.ledger.figures import announce
from worker.ledger.leases import Change, Mail
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Choice, Episode, Memo, to_ms

TOKEN = "a-token-of-the-board"
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
#: The worst a caller might call its events: markup, a closing quote, bidi controls.
HOSTILE_ID = '"><img src=x onerror=document.title=1>\u202egnp.exe'
HOSTILE_SUMMARY = "<script>document.title='owned'</script>\u202e{{ 7 * 7 }}\x1b[31m"


#: As long as ids may well be, without a place to break it; and one that is read from the other side.
LONG_ID, RIGHT_TO_LEFT = "x" * 500, "\u05e4\u05d2\u05d9\u05e9\u05d4-77"


@pytest.fixture(scope="package")
def world(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An account with an event for most causes, each looked at, and one with hostile ids and texts."""
    options = SandboxOptions(per_second=0, per_minute=0, generation_seconds=3600)
    with RunningSandbox(options) as running:
        home = tmp_path_factory.mktemp("world")
        for begin in beginning(running, redis_url, f"board-{home.name}", home):
            made = begin(profiles=3)
            made.track("expired", profile=made.profiles[1])
            made.track("removed", profile=made.profiles[2])
            made.track("past", hours=-1)
            made.track("waits", hours=2)
            made.track(HOSTILE_ID, summary=HOSTILE_SUMMARY, write=False)
            made.control.disconnect_profile(made.sub, made.profiles[1])
            made.control.remove_profile(made.sub, made.profiles[2])
            for event_id in ("expired", "removed", "past", "waits"):
                made.look(event_id)
            made.track("unseen")
            _plant(made)
            made.services.ledger.promote(10)
            yield made


def _plant(made: World) -> None:
    """What the other pages show: long ids, such as no line breaks, others from right to left; choices."""
    services, ledger = made.services, made.services.ledger
    for sub in (LONG_ID, RIGHT_TO_LEFT):
        given = ConnectAccount(sub=sub, refresh_token="one", email="noa@example.org", name=LONG_ID)
        accept.connect_account(services, given)
        for event_id in (LONG_ID, RIGHT_TO_LEFT):
            event = made.body(event_id, summary=f"{RIGHT_TO_LEFT} {LONG_ID}")
            accept.track(
                services, TrackEvent(sub=sub, calendar_id=LONG_ID, event=event, provider_name="zoom")
            )
        choice = Choice(LONG_ID, LONG_ID, to_ms(ledger.now()), LONG_ID)
        one = Choice("pro_1", "pro_2", to_ms(ledger.now()), "Noa", (LONG_ID, LONG_ID))
        lease = claim(ledger, sub)
        said = Outcome(OutcomeType.ACKNOWLEDGED, sub, ledger.now(), LONG_ID, LONG_ID, detail={"by": LONG_ID})
        memo = Memo({LONG_ID: Episode(to_ms(ledger.now()), 1, ("m1",), ())}, {LONG_ID: "zoom"})
        mail = Mail(f"m-{len(sub)}", b"secret link", parts=b"{}", kind="relink")
        ledger.commit(lease, Change(choices=(choice, one), outcomes=(said,), memo=memo, mails=(mail,)))
    services.dead_letters.keep(
        "conferencing.track", f"event: {LONG_ID}", (), {"sub": LONG_ID, "email": "noa@example.org"}
    )
    services.dead_letters.keep("conferencing.track", "It failed.", (), {"sub": RIGHT_TO_LEFT}, failed=True)
    announce(ledger.redis, ledger.keys, f"celery@{LONG_ID}", ["reconciler.looks"])


@pytest.fixture(scope="package")
def board(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `reconciler serve` for it."""
    settings, home = world.services.settings, tmp_path_factory.mktemp("serve")
    env = environment(
        REDIS_URL=settings.redis_url or "",
        KEY_PREFIX=settings.key_prefix,
        VAULT_KEYS=settings.vault_keys[0].get_secret_value(),
        CRONOFY_CLIENT_ID=settings.cronofy_client_id or "",
        CRONOFY_CLIENT_SECRET=settings.cronofy_client_secret[0].get_secret_value(),
        CRONOFY_API_URL=settings.cronofy_api_url or "",
        BOARD_TOKEN=TOKEN,
    )
    served = Served(partial(Child, home, env, home / "serve.log"))
    yield served.url
    served.child.end()


# Not session-scoped: while it runs, this thread counts as having a running event loop.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, headless."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


Open = Callable[..., Page]
#: axe tells of nothing else, and not where: to describe all elements without a fault takes it longer.
ONLY_FAULTS = {"resultTypes": ["violations"], "selectors": False}


def faults(page: Page) -> list[str]:
    """What axe finds in names, structure, labels and contrast, and whether the page scrolls sideways.

    In dark mode only the colours differ, so only they are looked at.
    """
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    options = {**ONLY_FAULTS, "runOnly": ["color-contrast"]} if dark else ONLY_FAULTS
    found = [fault["id"] for fault in Axe().run(page, options=options).response["violations"]]
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    return found + ["scrolls sideways"] * wide


@pytest.fixture
def browse(chromium: Browser, board: str) -> Iterator[Open]:
    """Open an address in a new browser, signed in unless told otherwise; no page may log an error."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(url: str, signed_in: bool = True, **options: Any) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)
        if signed_in:
            context.request.post(f"{board}/board/sign-in", form={"token": TOKEN}, max_redirects=0)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    # A page that is not found, not shown or does nothing is expected to log that.
    expected = ("404 (Not Found)", "401 (Unauthorized)", "409 (Conflict)")
    assert [line for line in complaints if not any(words in line for words in expected)] == []
