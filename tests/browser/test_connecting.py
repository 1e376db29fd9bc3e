"""A user connects a service in a real browser, from the email to the thanks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.browser.conftest import faults
from tests.integration.connecting import asked, link_in
from tests.integration.world import World, beginning
from tests.waiting import wait_until
from worker.mail.connect_links import ConnectLinks
from worker.mail.letters import Reader

#: What is shown for a link that does nothing, or one that Cronofy refuses, is logged by browsers.
EXPECTED = ("404 (Not Found)",)


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    """An account whose one profile was removed: its user was asked to connect one."""
    options = SandboxOptions(per_second=0, per_minute=0, generation_seconds=0.2)
    with RunningSandbox(options) as running:
        prefix = f"connect-{tmp_path.name}"
        for begin in beginning(running, redis_url, prefix, tmp_path):
            with asked(begin, redis_url, prefix) as (made, _):
                yield made


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the pages log; in the end that is nothing that was not expected."""
    lines: list[str] = []
    yield lines
    assert [line for line in lines if not any(words in line for words in EXPECTED)] == []


def opened(chromium: Browser, complaints: list[str], **options: object) -> Page:
    page = chromium.new_context(**options).new_page()  # type: ignore[arg-type]
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_from_the_email_to_the_thanks(
    world: World, chromium: Browser, complaints: list[str], scripts: bool
) -> None:
    """By keyboard alone; the browser follows to the service and back, and the event gets its link."""
    page = opened(chromium, complaints, java_script_enabled=scripts)
    page.goto(link_in(world))

    expect(page.get_by_role("heading")).to_have_text("Connect Zoom")
    expect(page.get_by_text(str(world.account["email"]))).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/conferencing_services/"))
    page.get_by_role("button").click()

    expect(page.get_by_role("heading")).to_have_text("Zoom is connected")
    expect(page.get_by_role("status")).to_contain_text("You can close this page")
    wait_until(lambda: world.look("e1")["state"] == "assigned", 15, 0.2, what="the link")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible_and_fit(
    world: World, chromium: Browser, complaints: list[str], scheme: str
) -> None:
    """360 pixels wide, and also from right to left."""
    link = link_in(world)
    base, _, token = link.partition("/connect/")
    now, vault = world.services.ledger.now(), world.services.ledger.vault
    links, address = ConnectLinks(base, vault, now - now), f"{'a' * 60}@{'b' * 60}.example"
    long, arabic = (
        links.of(world.sub, "zoom", Reader(address, locale=locale), now) for locale in ("en", "ar")
    )
    page = opened(chromium, complaints, color_scheme=scheme, viewport={"width": 360, "height": 800})

    for url in (
        long,
        arabic,
        f"{base}/connect/done?last_linked_profile_id=pro_1",
        f"{base}/connect/done?error=access_denied",
        f"{base}/connect/{token[:-4]}",
    ):
        page.goto(url)
        assert faults(page) == []
    page.context.close()
