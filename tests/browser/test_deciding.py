"""Deciding about an incident in a real browser: from the overview, by an email's link, without scripts."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tasks.urgent import decide
from tests.browser.conftest import Open, faults
from tests.browser.test_board import event_page
from tests.integration.world import World
from worker.intake.acknowledge import withdraw
from worker.intake.payloads import DecideIncident
from worker.mail.decision_links import decision_url


@pytest.fixture(scope="module")
def waiting(world: World) -> World:
    """An account whose profile was removed; two others could take its place."""
    made = world.another()
    made.track("removed-too")
    made.control.remove_profile(made.sub, made.profiles[0])
    for name in ("lee", "kim"):
        made.control.add_conferencing_profile(
            made.sub, provider_name="zoom", profile_id=f"pro_{name}", profile_name=name.title()
        )
    made.look("removed-too")
    return made


def incident_of(world: World) -> str:
    """The incident of the removed profile."""
    found = world.services.ledger.incidents.open()
    return next(each.incident_id for each in found if each.kind == "profile_removed")


def link(world: World, board: str) -> str:
    """A fresh link, as an email has it."""
    ledger = world.services.ledger
    return decision_url(board, ledger.vault, incident_of(world), "ops@example.org", ledger.now())


def taken(world: World) -> dict[str, Any]:
    """The message on the urgent queue, as its task takes it."""
    message: Any = world.services.ledger.redis.rpop(f"{world.services.settings.key_prefix}.urgent")
    kwargs: dict[str, Any] = json.loads(base64.b64decode(json.loads(message)["body"]))[1]
    return kwargs


def test_from_the_overview_to_a_decision(board: str, waiting: World, browse: Open) -> None:
    """Without scripts: the incident, its events, and what takes the removed profile's place."""
    page = browse(board, java_script_enabled=False, viewport={"width": 360, "height": 700})
    page.get_by_role("link", name=re.compile("open incident")).click()
    page.get_by_role("link", name=re.compile("profile removed")).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("profile removed (Zoom), incident")
    expect(page.get_by_role("link", name="removed-too")).to_be_visible()
    page.get_by_label(re.compile("^Zoom")).select_option("default")
    page.locator("#by-choose").fill("Dana")
    page.get_by_role("button", name="Set them").click()

    expect(page.get_by_role("status")).to_contain_text("Sent.")
    kwargs = taken(waiting)
    assert (kwargs["by"], kwargs["choices"][0]["to_profile_id"]) == ("Dana", "default")
    page.locator("dl.facts a").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("of incident")
    expect(page.get_by_role("row")).to_have_count(2)


def test_an_event_gets_what_was_chosen_on_its_page(board: str, waiting: World, browse: Open) -> None:
    """Alone, or with all that wait for the profile."""
    page = browse(event_page(board, waiting, "removed-too"), java_script_enabled=False)
    page.get_by_label("Set", exact=True).select_option("integrated")
    page.get_by_label("For", exact=True).select_option("one")
    page.get_by_role("button", name="Set it").click()

    expect(page.get_by_role("status")).to_contain_text("Sent.")
    kwargs = taken(waiting)
    assert (kwargs["to_profile_id"], kwargs["event_id"]) == ("integrated", "removed-too")


def test_a_link_decides_without_signing_in_and_only_once(board: str, waiting: World, browse: Open) -> None:
    """It shows what will happen; once used, or changed, it does nothing and says so."""
    address = link(waiting, board)
    page = browse(address, signed_in=False, java_script_enabled=False)
    other = browse(address, signed_in=False)
    expect(page.get_by_role("heading", name="Decide what takes their place")).to_be_visible()
    page.get_by_label("Note").fill("asked them")
    page.get_by_label("Your name", exact=True).fill("Dana")
    page.get_by_role("button", name="Acknowledge").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Decided")
    kwargs = taken(waiting)
    assert decide(waiting.services, DecideIncident(**kwargs))[0]["acknowledged"] == 1
    try:
        page.reload()
        other.get_by_role("button", name="Set them").click()
        for seen in (page, other):
            expect(seen.get_by_role("heading", level=1)).to_have_text("Decided already")
            expect(seen.locator("main")).to_contain_text("Dana, by link acknowledged 1 event: asked them")
        other.goto(address[:-6] + "AAAAAA")
        expect(other.get_by_role("heading", level=1)).to_have_text("This link does not work")
    finally:
        withdraw(waiting.services.ledger, waiting.sub, waiting.key("removed-too"))
        waiting.services.ledger.give_link_back(incident_of(waiting))
    assert waiting.services.ledger.redis.llen(f"{waiting.services.settings.key_prefix}.urgent") == 0


def test_the_pages_are_accessible_and_fit(board: str, waiting: World, browse: Open) -> None:
    """Light and dark, 360 pixels wide."""
    incident = incident_of(waiting)
    for scheme in ("light", "dark"):
        page = browse(board, color_scheme=scheme, viewport={"width": 360, "height": 700})
        found = {}
        for url in (
            f"{board}/incidents",
            f"{board}/incidents/{incident}",
            f"{board}/events?incident={incident}",
            event_page(board, waiting, "removed-too"),
            link(waiting, board),
            f"{board}/decide/changed",
        ):
            page.goto(url)
            found[url] = faults(page)

        assert {url: said for url, said in found.items() if said} == {}
