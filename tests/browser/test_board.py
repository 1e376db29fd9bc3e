"""The board in a real browser: by keyboard, on a small screen, in dark mode, without scripts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HOSTILE_ID, Open, faults
from tests.integration.world import World
from worker.intake import accept
from worker.intake.payloads import AcknowledgeEvent

pytestmark = pytest.mark.xdist_group("browser")


def event_page(board: str, world: World, event_id: str) -> str:
    """The address of an event's page."""
    ids = {"account": world.sub, "calendar": world.calendar_id, "event": event_id}
    return f"{board}/board/event?{urlencode(ids)}"


def pages(board: str, world: World) -> dict[str, str]:
    """Every kind of page."""
    return {
        "overview": board,
        "event": event_page(board, world, "expired"),
        "hostile event": event_page(board, world, HOSTILE_ID),
        "all events": f"{board}/events",
        "one cause": f"{board}/events?cause=profile_removed",
        "an empty list": f"{board}/events?told=acknowledged&provider=zoom",
        "found": f"{board}/board/search?{urlencode({'q': world.sub})}",
        "not found": f"{board}/board/search?q=nothing-of-this-name",
        "not tracked": event_page(board, world, "expird"),
        "no such page": f"{board}/board/static/none",
    }


def visit(page: Page, board: str, world: World) -> Iterator[str]:
    """Go to each kind of page."""
    for kind, url in pages(board, world).items():
        page.goto(url)
        yield kind


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 360)], ids=["light", "dark and small"]
)
def test_every_page_is_accessible_and_fits(
    board: str, world: World, browse: Open, scheme: str, width: int
) -> None:
    """At 360 pixels everything fits, even long ids."""
    page = browse(board, color_scheme=scheme, viewport={"width": width, "height": 700})
    found = {}
    for kind in visit(page, board, world):
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        # The overview has a foot of its own.
        found[kind] = [fault for fault in faults(page) if not fault.startswith("landmark-")]

    assert {kind: said for kind, said in found.items() if said} == {}


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
    """By account and by calendar; a mistyped event leads to the intended one."""
    page = browse(board)
    for text in (world.sub, world.calendar_id):
        page.get_by_label("Account, calendar or event id").fill(text)
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
        expect(page.locator("form.conditions")).to_contain_text("Acknowledged by board: asked them, until")
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


def test_what_people_wrote_stays_text(board: str, world: World, browse: Open) -> None:
    """Markup is shown as text, none of it runs, and nothing reverses the surrounding text."""
    page = browse(event_page(board, world, HOSTILE_ID))

    assert page.title().endswith("· reconciler")
    assert "<script>document.title='owned'</script>{{ 7 * 7 }}" in page.locator("main").inner_text()
    assert page.locator("main script, main img").count() == 0
    for _ in visit(page, board, world):
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", page.content())


def test_little_personal_data_is_shown(board: str, world: World, browse: Open) -> None:
    """No address or relink link anywhere; a meeting's summary only on its own page."""
    page = browse(board)
    seen = {kind: page.content() for kind in visit(page, board, world)}

    email = world.account["email"]
    assert not [kind for kind, text in seen.items() if email in text or "relink/" in text]
    assert [kind for kind, text in seen.items() if "Interview expired" in text] == ["event"]


def test_the_plot_has_its_figures_as_text(board: str, world: World, browse: Open) -> None:
    """Its label says now, minimum and maximum; a table has each hour; causes are words, not colours."""
    page = browse(board)
    pending = world.services.ledger.counters()["events:pending"]

    label = page.get_by_role("img", name=re.compile("Pending events")).get_attribute("aria-label")
    page.locator("summary").click()

    assert f"now {pending}, at least" in str(label)
    expect(page.locator("#hourly tbody tr").first).to_contain_text(str(pending))
    expect(page.locator(".causes")).to_contain_text("credentials_expired")
