"""Signing in to the board in a real browser: by hand, by a link, on a small screen, in dark mode."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import TOKEN, Open, faults
from tests.browser.test_board import event_page
from tests.integration.world import World

FORM = "/board/sign-in"


def sign_in(page: Page, token: str = TOKEN) -> None:
    """By keyboard alone: the field has the focus."""
    page.keyboard.type(token)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_by_hand_to_the_page_that_was_asked_for(
    board: str, world: World, browse: Open, scripts: bool
) -> None:
    """The token is typed once; the cookie that stands for it is out of a script's reach."""
    wanted = event_page(board, world, "expired")
    page = browse(wanted, signed_in=False, java_script_enabled=scripts)

    page.get_by_label("token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()

    expect(page).to_have_url(wanted)
    expect(page.locator(".answer")).to_contain_text("Zoom connection has expired")
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Lax", False)
    assert TOKEN not in cookie["value"]


def test_a_link_signs_in(board: str, browse: Open) -> None:
    """The address does not keep the token, nor does what was asked of the server ever have it."""
    page = browse("about:blank", signed_in=False)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.partition("#")[0]))

    page.goto(f"{board}{FORM}#{TOKEN}")

    expect(page).to_have_url(f"{board}/")
    expect(page.locator("#live")).to_be_visible()
    assert not any(TOKEN in url for url in asked)
    page.go_back()
    assert TOKEN not in page.url


def test_a_wrong_token_is_said(board: str, browse: Open) -> None:
    """And can be typed again."""
    page = browse(board, signed_in=False)

    sign_in(page, "not the token")
    expect(page.get_by_role("alert")).to_have_text("This is not the token.")
    sign_in(page)

    expect(page).to_have_url(f"{board}/")


def test_signing_out(board: str, browse: Open) -> None:
    """Then every page asks again."""
    page = browse(board)

    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{board}{FORM}")
    page.goto(board)

    expect(page.get_by_role("heading")).to_have_text("Sign in")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_is_accessible_and_fits(board: str, browse: Open, scheme: str) -> None:
    """360 pixels wide."""
    page = browse(board, signed_in=False, color_scheme=scheme, viewport={"width": 360, "height": 700})
    sign_in(page, "not the token")
    expect(page.get_by_role("alert")).to_be_visible()

    assert faults(page) == []
    assert re.search("Sign in", page.title())
