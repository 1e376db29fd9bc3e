"""Actions of people and of the application's owner: refresh, relink, connect, and the control plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sandbox.control.control import Control
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from sandbox.world.accounts import Account
from sandbox.world.registry import Registry


@pytest.fixture
def account(control: Control) -> dict[str, Any]:
    """A new account with a Zoom profile, at a sandbox whose pages have another address."""
    control.set_settings(public_url="https://sandbox.example")
    return control.create_account(
        name="Dana <Example>", conferencing_profiles=[{"profile_id": "pro_zoom", "profile_name": "dana-zoom"}]
    )


@pytest.fixture
def http(running: RunningSandbox) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        yield client


def refresh(http: httpx.Client, account: dict[str, Any], **changes: str) -> httpx.Response:
    """Ask for a new access token, form-encoded."""
    client = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
    grant = {"grant_type": "refresh_token", "refresh_token": account["refresh_token"]}
    return http.post("/oauth/token", data=client | grant | changes)


def disconnect(http: httpx.Client, control: Control, account: dict[str, Any]) -> str:
    """Disconnect the Zoom profile and return its relink URL on this machine."""
    control.disconnect_profile(account["sub"], "pro_zoom")
    token = {"Authorization": f"Bearer {account['access_token']}"}
    data = http.get("/v1/userinfo", headers=token).json()["cronofy.data"]
    url = str(data["conferencing_profiles"][0]["profile_relink_url"])
    assert url.startswith("https://sandbox.example/v2/relink/zoom?")
    return url.removeprefix("https://sandbox.example")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"client_id": "x"}, "invalid_client", id="client-id"),
        pytest.param({"client_secret": "x"}, "invalid_client", id="client-secret"),
        pytest.param({"refresh_token": "x"}, "invalid_grant", id="refresh-token"),
        pytest.param({"grant_type": "password"}, "unsupported_grant_type", id="grant-type"),
    ],
)
def test_refused_refresh(
    http: httpx.Client, account: dict[str, Any], changes: dict[str, str], error: str
) -> None:
    """A refresh with a wrong field gets 400 and that field's error."""
    response = refresh(http, account, **changes)
    assert (response.status_code, response.json()) == (400, {"error": error})


def test_access_token_expires() -> None:
    """An access token lives for `token_seconds`, even after a newer one was issued."""
    time = datetime(2026, 12, 1, tzinfo=UTC)
    registry = Registry(lambda: SandboxOptions(token_seconds=600), clock=lambda: time)
    account = registry.add_account(Account())
    first = account.access_token
    time += timedelta(seconds=599)
    registry.refresh(account)
    assert registry.bearer(first) is account
    time += timedelta(seconds=1)
    assert registry.bearer(first) is None
    assert registry.bearer(account.access_token) is account


def test_refresh_tokens_end(http: httpx.Client, control: Control, account: dict[str, Any]) -> None:
    """A rotated or revoked one gets invalid_grant; what a refresh grants is not to be stored by caches."""
    control.set_personality(rotate_refresh_tokens="yes")
    response = refresh(http, account)
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")
    granted = {"token_type": "bearer", "expires_in": 3600, "scope": "read_write"}
    assert granted.items() <= response.json().items()
    rotated = response.json()["refresh_token"]
    assert refresh(http, account).json() == {"error": "invalid_grant"}
    assert refresh(http, account, refresh_token=rotated).status_code == 200
    control.revoke_refresh_token(account["sub"])
    assert refresh(http, control.account(account["sub"])).json() == {"error": "invalid_grant"}
    assert refresh(http, control.authorize(account["sub"])).status_code == 200


def test_relink_page_asks_and_then_reconnects(
    http: httpx.Client, control: Control, account: dict[str, Any]
) -> None:
    """Opening the relink URL changes nothing; its button reconnects the profile, which then has no URL."""
    url = disconnect(http, control, account)
    page = http.get(url)
    for words in ("Reconnect Zoom</button>", "dana-zoom", "dana@example.org", "Dana &lt;Example&gt;"):
        assert words in page.text
    assert "<script" not in page.text
    assert control.account(account["sub"])["conferencing_profiles"][0]["connected"] is False
    assert "connected again" in http.post(url).text
    assert control.account(account["sub"])["conferencing_profiles"][0]["connected"] is True
    page = http.get(url)
    assert "nothing left to do" in page.text
    assert "<button" not in page.text


def test_relink_url_of_a_removed_profile_is_dead(
    http: httpx.Client, control: Control, account: dict[str, Any]
) -> None:
    """Neither a made-up token nor the URL of a removed profile works."""
    url = disconnect(http, control, account)
    control.remove_profile(account["sub"], "pro_zoom")
    assert http.get(url).status_code == 404
    assert http.post("/v2/relink/zoom?email=dana%40example.org&token=x").status_code == 404


def test_new_conferencing_profile_is_connected(
    http: httpx.Client, control: Control, account: dict[str, Any]
) -> None:
    """The authorisation page connects a new profile and redirects back with its id."""
    response = http.post(
        "/v1/conferencing_service_authorizations",
        json={"redirect_uri": "https://app.example/back?x=1", "provider_name": "go_to"},
        headers={"Authorization": f"Bearer {account['access_token']}"},
    )
    url = response.json()["authorization_request"]["url"].removeprefix("https://sandbox.example")
    assert "Connect GoTo Meeting</button>" in http.get(url).text
    back = http.post(url).headers["Location"]
    added = control.account(account["sub"])["conferencing_profiles"][1]
    assert added["provider_name"] == "go_to"
    assert back == f"https://app.example/back?x=1&last_linked_profile_id={added['profile_id']}"


def test_settings_are_changed_and_reset(control: Control) -> None:
    """A setting lasts until the reset, which restores the initial one."""
    assert control.set_settings(page_size=7)["page_size"] == control.settings()["page_size"] == 7
    control.reset()
    assert control.settings()["page_size"] == 100


@pytest.mark.parametrize(
    ("status", "act"),
    [
        pytest.param("422", lambda control: control.set_settings(page_sise=7), id="misspelt-setting"),
        pytest.param("422", lambda control: control.set_settings(page_size="many"), id="wrong-type"),
        pytest.param("422", lambda control: control.set_settings(retry_seconds=0), id="out-of-range"),
        pytest.param("422", lambda control: control.add_fault("stutter"), id="unknown-fault"),
        pytest.param("422", lambda control: control.set_mailbox(refuse_at="door"), id="unknown-step"),
        pytest.param("404", lambda control: control.account("acc_x"), id="unknown-account"),
        pytest.param("404", lambda control: control.remove_profile("acc_x", "pro_x"), id="unknown-profile"),
        pytest.param("404", lambda control: control.event("cal_x", "e1"), id="unknown-event"),
    ],
)
def test_bad_request_is_refused(control: Control, act: Callable[[Control], object], status: str) -> None:
    """Unknown names and bad values are refused, and change nothing."""
    before = control.settings()
    with pytest.raises(httpx.HTTPStatusError, match=status):
        act(control)
    assert control.settings() == before


def test_calendar_belongs_to_one_account(control: Control) -> None:
    """A calendar id that another account has is refused, because events are found by it."""
    calendars = [{"calendars": [{"calendar_id": "cal_1"}]}]
    control.create_account(calendar_profiles=calendars)
    with pytest.raises(httpx.HTTPStatusError, match="cal_1 belongs to"):
        control.create_account(calendar_profiles=calendars)
