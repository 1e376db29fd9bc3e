"""The official Python SDK, which knows nothing of the sandbox, works with it as with Cronofy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pycronofy import Client
from pycronofy.batch import BatchBuilder
from pycronofy.exceptions import PyCronofyPartialSuccessError, PyCronofyRequestError

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from sandbox.world.courier import sign
from tests.unit.test_signature import BODY, VECTORS
from tests.waiting import wait_until

START = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module."""
    with RunningSandbox(SandboxOptions(page_size=2, generation_seconds=0.02)) as sandbox:
        yield sandbox


@pytest.fixture
def account(running: RunningSandbox) -> dict[str, Any]:
    """A person with a calendar and a Zoom profile, in an otherwise empty world."""
    running.control.reset()
    return running.control.create_account(conferencing_profiles=[{"profile_id": "pro_zoom"}])


@pytest.fixture
def calendar_id(account: dict[str, Any]) -> Any:
    """The person's calendar."""
    return account["calendar_profiles"][0]["calendars"][0]["calendar_id"]


@pytest.fixture
def sdk(running: RunningSandbox, account: dict[str, Any]) -> Client:
    """The SDK, authorised by that person."""
    tokens = {name: account[name] for name in ("access_token", "refresh_token")}
    client = Client(client_id="sandbox-client", client_secret="sandbox-secret", **tokens)
    client.request_handler.base_url = running.url
    return client


def an_event(event_id: str, **fields: object) -> dict[str, Any]:
    """Return a body for upsert_event, which needs datetimes and mutates its argument."""
    words = {"event_id": event_id, "summary": "Interview", "description": "", "tzid": "Europe/London"}
    return {**words, "start": START, "end": START + timedelta(minutes=30), **fields}


def test_identity(sdk: Client, account: dict[str, Any], calendar_id: str) -> None:
    """UserInfo, the account, and lists of calendars and profiles are as the SDK expects."""
    info = sdk.userinfo()
    data = info["cronofy.data"]
    assert info["sub"] == sdk.account()["account_id"] == account["sub"]
    assert data["profiles"][0]["profile_calendars"][0]["calendar_integrated_conferencing_available"] is True
    assert data["conferencing_profiles"][0]["profile_id"] == "pro_zoom"
    assert [c["calendar_id"] for c in sdk.list_calendars()] == [calendar_id]
    assert [p["profile_connected"] for p in sdk.list_profiles()] == [True]


def test_paged_read_gives_every_event_once(sdk: Client, calendar_id: str) -> None:
    """Five events, three from a batch that says that its fourth failed, are read on pages of two."""
    builder = BatchBuilder()
    for n in range(3):
        builder.upsert_event(calendar_id, an_event(f"booking-{n}"))
    builder.upsert_event(calendar_id, an_event("no summary", summary=""))
    with pytest.raises(PyCronofyPartialSuccessError):
        sdk.batch(builder)
    for n in (3, 4):
        sdk.upsert_event(calendar_id, an_event(f"booking-{n}"))
    pages = sdk.read_events(tzid="Europe/London", calendar_ids=[calendar_id])
    assert sorted(e["event_id"] for e in pages) == [f"booking-{n}" for n in range(5)]


def test_created_event_gets_its_conference(sdk: Client, calendar_id: str) -> None:
    """An event written with a conferencing block soon has a join URL."""
    sdk.upsert_event(calendar_id, an_event("booking-1", conferencing={"profile_id": "pro_zoom"}))

    def conferencing() -> Any:
        (event,) = sdk.read_events(only_managed=True).all()
        return event["conferencing"] if "join_url" in event["conferencing"] else None

    assert wait_until(conferencing, what="a join URL")["provider_name"] == "zoom"


def test_updated_and_deleted_event(sdk: Client, calendar_id: str) -> None:
    """An update keeps the conference it omits; a deleted event is only read with include_deleted."""
    meeting = {"profile_id": "explicit", "provider_description": "Room 5", "join_url": "https://x.example/5"}
    sdk.upsert_event(calendar_id, an_event("booking-1", conferencing=meeting))
    sdk.upsert_event(calendar_id, an_event("booking-1", summary="Second interview"))
    (event,) = sdk.read_events().all()
    assert event["summary"] == "Second interview"
    assert event["conferencing"] == {"provider_name": "Room 5", "join_url": "https://x.example/5"}
    sdk.delete_event(calendar_id, "booking-1")
    assert sdk.read_events().all() == []
    assert [e["deleted"] for e in sdk.read_events(include_deleted=True)] == [True]


def test_refreshed_and_revoked_authorization(sdk: Client, account: dict[str, Any]) -> None:
    """A refresh returns another access token that works; after a revocation neither token does."""
    granted = sdk.refresh_authorization()
    assert granted["access_token"] != account["access_token"]
    assert granted["refresh_token"] == account["refresh_token"]
    assert sdk.userinfo()["sub"] == account["sub"]
    sdk.revoke_authorization()
    sdk.auth.update(access_token=granted["access_token"], refresh_token=granted["refresh_token"])
    with pytest.raises(PyCronofyRequestError) as reading:
        sdk.userinfo()
    with pytest.raises(PyCronofyRequestError) as refreshing:
        sdk.refresh_authorization()
    assert reading.value.response.status_code == 401
    assert refreshing.value.response.json() == {"error": "invalid_grant"}


def test_profile_is_revoked_and_another_authorised(sdk: Client, running: RunningSandbox) -> None:
    """A revoked profile is gone from UserInfo, whose list remains; a link leads to connecting a new one."""
    sdk.revoke_profile("pro_zoom")
    assert sdk.userinfo()["cronofy.data"]["conferencing_profiles"] == []
    link = sdk.get_conferencing_services_auth_link("https://app.example/back", provider_name="zoom")
    assert link.startswith(f"{running.url}/conferencing_services/")


def test_notification_channels(sdk: Client, calendar_id: str) -> None:
    """A channel is created, listed and closed."""
    created = sdk.create_notification_channel("urn:no-delivery", calendar_ids=[calendar_id])
    assert sdk.list_notification_channels() == [created]
    assert created["filters"] == {"calendar_ids": [calendar_id]}
    sdk.close_notification_channel(created["channel_id"])
    assert sdk.list_notification_channels() == []


@pytest.mark.parametrize(("secret", "signature"), VECTORS, ids=["C# SDK", "docs, first", "docs, second"])
def test_signatures_match_the_published_vectors(secret: str, signature: str) -> None:
    """The sandbox signs like Cronofy, and the SDK accepts it, alone or next to another secret's signature."""
    body = BODY.decode()
    client = Client(client_secret=secret)
    assert sign(BODY, [secret]) == signature
    assert client.hmac_valid(signature, body)
    assert client.hmac_valid(sign(BODY, ["another", secret]), body)
    assert not client.hmac_valid(signature, body + " ")
