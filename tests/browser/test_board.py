"""The board in a real browser: by keyboard, on a small screen, in dark mode, without scripts."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import HOSTILE_ID, LONG_ID, ONLY_FAULTS, RIGHT_TO_LEFT, TOKEN, Open
from tests.integration.world import World
from worker.intake import accept
from worker.intake.payloads import AcknowledgeEvent
from worker.web.board.urls import account_url, event_url, letter_url

AXE = Axe()
LISTS = ("/accounts", "/mails", "/outcomes", "/dead-letters", "/workers", "/incidents")


def event_page(board: str, world: World, event_id: str, sub: str = "", calendar_id: str = "") -> str:
    """The address of an event's page."""
    return board + event_url(sub or world.sub, calendar_id or world.calendar_id, event_id)


def account_page(board: str, sub: str) -> str:
    """The address of an account's page."""
    return board + account_url(sub)


def pages(board: str, world: World) -> dict[str, str]:
    """Every kind of page."""
    letter = next(iter(world.services.dead_letters))
    return {
        "overview": board,
        "event": event_page(board, world, "expired"),
        "hostile event": event_page(board, world, HOSTILE_ID),
        "all events": f"{board}/events",
        "one cause": f"{board}/events?cause=profile_removed",
        "an empty list": f"{board}/events?told=acknowledged&provider=zoom",
        "found": f"{board}/board/search?{urlencode({'q': world.calendar_id})}",
        "found by address": f"{board}/board/search?q=noa@example.org",
        "event, long": event_page(board, world, LONG_ID, LONG_ID, LONG_ID),
        "account": account_page(board, world.sub),
        "account, long": account_page(board, LONG_ID),
        "account, right to left": account_page(board, RIGHT_TO_LEFT),
        "events of an account": f"{board}/events?{urlencode({'account': LONG_ID, 'title': LONG_ID})}",
        **{path: board + path for path in LISTS},
        "no accounts": f"{board}/accounts?begins=nobody",
        "no letters": f"{board}/dead-letters?account=nobody",
        "letter": board + letter_url(letter.letter_id),
        "report": f"{board}/report",
        "not found": f"{board}/board/search?q=nothing-of-this-name",
        "not tracked": event_page(board, world, "expird"),
        "no such page": f"{board}/board/static/none",
    }


@pytest.fixture(scope="module")
def seen(chromium: Browser, board: str, world: World) -> dict[str, dict[str, Any]]:
    """What each kind of page is like: each is opened once, and looked at in several ways."""
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    context.request.post(f"{board}/board/sign-in", form={"token": TOKEN}, max_redirects=0)
    page = context.new_page()
    seen = {kind: look_at(page, url) for kind, url in pages(board, world).items()}
    context.close()
    return seen


def look_at(page: Page, url: str) -> dict[str, Any]:
    """A page's source, the serious faults that axe finds in it, and how wide it is on a small screen."""
    page.set_viewport_size({"width": 1100, "height": 900})
    page.emulate_media(color_scheme="light")
    page.goto(url)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    source = page.content()
    found = AXE.run(page, options=ONLY_FAULTS).response["violations"]
    page.emulate_media(color_scheme="dark")
    # Only the colours differ. axe is in the page by now.
    colors = {**ONLY_FAULTS, "runOnly": ["color-contrast"]}
    found += page.evaluate("(options) => axe.run(options).then((each) => each.violations)", colors)
    page.set_viewport_size({"width": 360, "height": 700})
    widths = set()
    for direction in ("ltr", "rtl"):
        page.evaluate(f"document.dir = '{direction}'")
        widths.add(page.evaluate("document.documentElement.scrollWidth"))
    faults = [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")]
    return {"source": source, "faults": faults, "widths": widths}


def test_no_page_has_a_serious_accessibility_fault(seen: dict[str, dict[str, Any]]) -> None:
    """axe finds no fault in names, structure, labels or contrast, light or dark."""
    assert {kind: each["faults"] for kind, each in seen.items() if each["faults"]} == {}


def test_no_page_scrolls_sideways_on_a_small_screen(seen: dict[str, dict[str, Any]]) -> None:
    """At 360 pixels everything fits, even ids of 500 characters; from right to left as well."""
    assert {kind: each["widths"] for kind, each in seen.items() if each["widths"] != {360}} == {}


def test_from_the_search_to_the_answer_by_keyboard_alone(board: str, world: World, browse: Open) -> None:
    """Two Tabs reach the search field; the only event with that id is shown at once."""
    page = browse(board)

    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("expired")
    page.keyboard.press("Enter")

    page.wait_for_url(re.compile("/board/event"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Why this event has no link")
    expect(page.locator(".answer")).to_contain_text("This account's Zoom connection has expired")


def test_search_finds_by_each_id(board: str, world: World, browse: Open) -> None:
    """By account, by its user's address and by calendar; a mistyped event leads to the intended one."""
    page = browse(board)
    for text in (world.sub, world.account["email"].upper(), world.calendar_id):
        page.locator("#q").fill(text)
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="waits").click()

        expect(page).to_have_url(event_page(board, world, "waits"))
        expect(page.locator(".answer")).to_contain_text("is still being created")
    page.goto(event_page(board, world, "expird"))
    page.get_by_role("link", name=re.compile("expired")).click()
    expect(page).to_have_url(event_page(board, world, "expired"))


def test_from_a_cause_to_its_event_and_an_answer_for_it(board: str, world: World, browse: Open) -> None:
    """Without scripts; the page says that it was sent, and later who answers."""
    page = browse(board, java_script_enabled=False)
    page.get_by_role("link", name="profile disconnected").click()
    page.get_by_role("link", name="expired").click()
    page.get_by_label("Note").fill("asked them")
    page.get_by_label("Until").select_option("P3D")
    page.get_by_role("button", name="Acknowledge").click()

    expect(page.get_by_role("status")).to_contain_text("Sent.")
    queue = f"{world.services.settings.key_prefix}.intake"
    message: Any = world.services.ledger.redis.rpop(queue)
    [_, kwargs, _] = json.loads(base64.b64decode(json.loads(message)["body"]))
    accept.acknowledge(world.services, AcknowledgeEvent(**kwargs))
    try:
        page.goto(event_page(board, world, "expired"))
        expect(page.locator("form.conditions")).to_contain_text("Acknowledged by board: asked them, 20")
        expect(page.get_by_role("button", name="Take it back")).to_be_visible()
        page.goto(f"{board}/events?told=acknowledged")
        expect(page.get_by_role("row").nth(1)).to_contain_text("acknowledged by board: asked them")
    finally:
        accept.acknowledge(world.services, AcknowledgeEvent(**{**kwargs, "withdraw": True}))


def test_everything_works_without_scripts(board: str, world: World, browse: Open) -> None:
    """Figures, plot and search; nothing promises an update that never comes."""
    page = browse(board, java_script_enabled=False)

    assert "events pending" in page.locator("h1").inner_text()
    assert page.locator(".graph svg path.line").get_attribute("d")
    assert "Updated every" not in page.content()
    page.locator("#q").fill("expired")
    page.locator("header button").click()
    assert "/board/event" in page.url


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_tiles_make_an_even_grid(board: str, browse: Open, width: int) -> None:
    """Each line has as many as the others."""
    page = browse(board, viewport={"width": width, "height": 900})

    tops = page.evaluate(
        "[...document.querySelectorAll('.tiles div')].map(e => e.getBoundingClientRect().top)"
    )

    assert len({tops.count(top) for top in tops}) == 1
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_it_refreshes_until_stopped(board: str, world: World, browse: Open) -> None:
    """Changes appear without a reload, and open tables stay open."""
    page = browse(board)
    page.clock.install()
    page.reload()
    page.locator("summary").click()
    page.evaluate("document.activeElement.blur()")

    world.services.ledger.set_paused(True)
    try:
        page.clock.run_for(6000)
        expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
        expect(page.locator(".attention")).to_contain_text("An operator paused the fleet")
        assert page.locator("details").get_attribute("open") is not None
    finally:
        world.services.ledger.set_paused(False)
    page.get_by_role("button", name="Stop updating").click()

    expect(page.locator("#refresh")).to_contain_text("Not updated")


def test_what_people_wrote_stays_text(
    board: str, world: World, browse: Open, seen: dict[str, dict[str, Any]]
) -> None:
    """Markup is shown as text, none of it runs, and nothing reverses the surrounding text."""
    page = browse(event_page(board, world, HOSTILE_ID))

    assert page.title().endswith("· reconciler")
    assert "<script>document.title='owned'</script>{{ 7 * 7 }}" in page.locator("main").inner_text()
    assert page.locator("main script, main img").count() == 0
    bad = re.compile("[\u202a-\u202e\u2066-\u2069\x1b]")
    assert [kind for kind, each in seen.items() if bad.search(each["source"])] == []


def test_little_personal_data_is_shown(world: World, seen: dict[str, dict[str, Any]]) -> None:
    """No address but what was searched for, no relink link; a meeting's summary only on its own page."""
    texts = {kind: each["source"] for kind, each in seen.items()}

    for secret in (world.account["email"], "relink/", "secret link"):
        assert [kind for kind, text in texts.items() if secret in text] == []
    assert [kind for kind, text in texts.items() if "noa@example.org" in text] == ["found by address"]
    assert [kind for kind, text in texts.items() if "Interview expired" in text] == ["event"]


def test_the_plot_has_its_figures_as_text(board: str, world: World, browse: Open) -> None:
    """Its label says now, minimum and maximum; a table has each hour; causes are words, not colours."""
    page = browse(board)
    pending = world.services.ledger.counters()["events:pending"]

    label = page.get_by_role("img", name=re.compile("Pending events")).get_attribute("aria-label")
    page.locator("summary").click()

    assert f"now {pending}, at least" in str(label)
    expect(page.locator("#hourly tbody tr").first).to_contain_text(str(pending))
    expect(page.locator(".causes")).to_contain_text("credentials_expired")
