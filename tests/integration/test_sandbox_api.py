"""The sandbox's API over the wire: what reads give, what writes need and change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.control.control import Control
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.integration.sandbox_caller import Caller, an_event


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module, without rate limits."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0)) as sandbox:
        yield sandbox


@pytest.fixture
def caller(running: RunningSandbox, control: Control) -> Iterator[Caller]:
    """A caller for a new account in London."""
    caller = Caller(running.url, control.create_account(zoneinfo="Europe/London"))
    with caller.http:
        yield caller


# -- reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "field", "key"),
    [
        pytest.param({"tzid": ""}, "tzid", "errors.tzid_unrecognized", id="no-tzid"),
        pytest.param({"tzid": "Mars/Base"}, "tzid", "errors.tzid_unrecognized", id="unknown-tzid"),
        pytest.param({"include_managed": "maybe"}, "include_managed", "errors.must_be_boolean", id="bool"),
        pytest.param({"calendar_ids[]": "cal_x"}, "calendar_ids", "errors.invalid_calendar_ids", id="cal"),
        pytest.param({"from": "soon"}, "from", "errors.invalid", id="from"),
    ],
)
def test_bad_query_is_refused(caller: Caller, query: dict[str, str], field: str, key: str) -> None:
    """A query that cannot be read gets 422 and the key of the error under the parameter's name."""
    response = caller.read(**query)
    assert response.status_code == 422
    assert response.json()["errors"][field][0]["key"] == key


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param({}, ["own"], id="managed-left-out-by-default"),
        pytest.param({"include_managed": "True"}, ["own", "e1"], id="capitalised-bool"),
        pytest.param({"only_managed": "true"}, ["e1"], id="only-managed"),
        pytest.param({"include_managed": "false"}, ["own"], id="managed-refused"),
    ],
)
def test_managed_events_only_when_asked_for(
    caller: Caller, control: Control, query: dict[str, str], found: list[str]
) -> None:
    """The application's own events are read only with include_managed or only_managed."""
    caller.write(**an_event(2))
    soon = an_event(1)
    control.create_external_event(
        caller.account["sub"], caller.calendar_id, summary="own", start=soon["start"], end=soon["end"]
    )
    assert caller.ids(**query) == found


@pytest.mark.parametrize("days", [pytest.param(-60, id="before"), pytest.param(300, id="beyond")])
def test_default_window_binds_only_other_peoples_events(caller: Caller, control: Control, days: int) -> None:
    """Outside 42 days back and 201 ahead, only managed events are read."""
    far = an_event(days)
    caller.write(**far)
    control.create_external_event(
        caller.account["sub"], caller.calendar_id, summary="own", start=far["start"], end=far["end"]
    )
    assert caller.ids(include_managed="true") == ["e1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param({"to": "2027-03-10"}, [], id="to-is-exclusive"),
        pytest.param({"to": "2027-03-11"}, ["e1"], id="to-the-day-after"),
        pytest.param({"from": "2027-03-10"}, ["e1"], id="from-that-day"),
        pytest.param({"from": "2027-03-11"}, [], id="from-the-day-after"),
        pytest.param({"from": "2027-03-10T09:00:00Z", "to": "2027-03-10T09:30:00Z"}, ["e1"], id="times"),
        pytest.param({"tzid": "Asia/Tokyo", "to": "2027-03-10"}, [], id="day-in-tokyo"),
        pytest.param({"tzid": "Pacific/Honolulu", "to": "2027-03-10"}, ["e1"], id="day-in-honolulu"),
    ],
)
def test_explicit_window_narrows_managed_events(
    caller: Caller, query: dict[str, str], found: list[str]
) -> None:
    """With from or to given, managed events outside them are left out; dates are read in tzid."""
    caller.write(start="2027-03-10T09:00:00Z", end="2027-03-10T10:00:00Z")
    assert caller.ids(only_managed="true", **query) == found


def test_localized_times_name_the_events_zone(caller: Caller) -> None:
    """With localized_times, start and end are objects in the zone the event was written in."""
    caller.write(tzid="Europe/Paris", start="2027-07-01T10:00:00", end="2027-07-01T11:00:00")
    assert caller.the_event()["start"] == "2027-07-01T08:00:00Z"
    assert caller.the_event(localized_times="true")["start"] == {
        "time": "2027-07-01T10:00:00+02:00",
        "tzid": "Europe/Paris",
    }


def test_deleted_events_are_read_on_demand(caller: Caller) -> None:
    """A deleted event is read only with include_deleted, and says so."""
    caller.write()
    url = f"/v1/calendars/{caller.calendar_id}/events"
    assert caller.http.request("DELETE", url, json={"event_id": "e1"}).status_code == 202
    assert caller.ids(only_managed="true") == []
    assert caller.the_event(include_deleted="true")["deleted"] is True


def test_last_modified_leaves_older_events_out(caller: Caller) -> None:
    """last_modified gives only what was modified since."""
    caller.write()
    assert caller.ids(only_managed="true", last_modified="2020-01-01T00:00:00Z") == ["e1"]
    assert caller.ids(only_managed="true", last_modified="2099-01-01T00:00:00Z") == []


def test_pages_lead_to_each_other_on_the_same_origin(
    caller: Caller, control: Control, running: RunningSandbox
) -> None:
    """next_page is absolute, on the origin called, and absent on the last page, whose numbers agree."""
    control.set_settings(page_size=2)
    for n in range(5):
        caller.write(event_id=f"e{n}", **{k: v for k, v in an_event(n + 1).items() if k != "event_id"})
    pages, page = [], caller.read(only_managed="true").json()
    while True:
        pages.append(page)
        if "next_page" not in page["pages"]:
            break
        next_page = httpx.URL(page["pages"]["next_page"])
        assert str(next_page).startswith(f"{running.url}/v1/events/pages/")
        page = caller.http.get(next_page).json()
    assert [(p["pages"]["current"], p["pages"]["total"]) for p in pages] == [(1, 3), (2, 3), (3, 3)]
    assert [e["event_id"] for p in pages for e in p["events"]] == [f"e{n}" for n in range(5)]


def test_page_of_another_account_is_not_found(
    caller: Caller, control: Control, running: RunningSandbox
) -> None:
    """A page's token serves only the account that it was given to."""
    control.set_settings(page_size=1)
    caller.write()
    caller.write(event_id="e2")
    next_page = caller.read(only_managed="true").json()["pages"]["next_page"]
    other = Caller(running.url, control.create_account())
    with other.http:
        assert other.http.get(next_page).status_code == 404


def test_body_on_get_is_drained(caller: Caller) -> None:
    """A GET with a body, as the Python SDK sends it, leaves the connection in order."""
    for _ in range(2):
        assert caller.http.request("GET", "/v1/userinfo", json={}).status_code == 200


# -- writing ----------------------------------------------------------------------------------------


def test_write_is_accepted_without_a_body(caller: Caller) -> None:
    """Create and update are both answered with 202 and nothing else."""
    for _ in range(2):
        response = caller.write()
        assert (response.status_code, response.content) == (202, b"")


@pytest.mark.parametrize(
    ("fields", "field", "key"),
    [
        pytest.param({"event_id": None}, "event_id", "errors.required", id="no-event-id"),
        pytest.param({"summary": None}, "summary", "errors.required", id="no-summary"),
        pytest.param({"start": None}, "start", "errors.required", id="no-start"),
        pytest.param({"end": None}, "end", "errors.required", id="no-end"),
        pytest.param({"summary": "x" * 1025}, "summary", "errors.too_long", id="long-summary"),
        pytest.param({"tzid": "Mars/Base"}, "tzid", "errors.tzid_unrecognized", id="tzid"),
        pytest.param({"start": "soon"}, "start", "errors.invalid", id="start"),
        pytest.param({"end": "2020-01-01T00:00:00Z"}, "end", "errors.invalid_time_pair", id="ends-before"),
        pytest.param({"attendees": "dana"}, "attendees", "errors.invalid", id="attendees-no-object"),
        pytest.param(
            {"conferencing": {"x": 1}}, "conferencing.profile_id", "errors.required", id="no-profile-id"
        ),
        pytest.param(
            {"conferencing": {"profile_id": "pro_x"}},
            "conferencing.profile_id",
            "errors.not_recognized",
            id="unknown-profile",
        ),
        pytest.param(
            {"conferencing": {"profile_id": "explicit", "join_url": "https://x.example"}},
            "conferencing.provider_description",
            "errors.required",
            id="explicit-incomplete",
        ),
        pytest.param(
            {"attendees": {"invite": [{"email": "nobody"}]}},
            "attendees.invite[0].email",
            "errors.invalid_email",
            id="attendee-email",
        ),
    ],
)
def test_bad_write_is_refused(caller: Caller, fields: dict[str, Any], field: str, key: str) -> None:
    """A body that lacks something or does not fit gets 422 by field, and nothing is written."""
    response = caller.write(**fields)
    assert response.status_code == 422
    assert response.json()["errors"][field][0]["key"] == key
    assert caller.ids(only_managed="true") == []


@pytest.mark.parametrize(
    ("calendar", "status"),
    [
        pytest.param({"readonly": True}, 403, id="read-only"),
        pytest.param({"deleted": True}, 404, id="deleted"),
    ],
)
def test_calendar_must_be_writable(
    caller: Caller, control: Control, calendar: dict[str, Any], status: int
) -> None:
    """A read-only calendar answers 403, one that is gone 404."""
    profile = control.add_calendar_profile(caller.account["sub"], calendars=[calendar])
    url = f"/v1/calendars/{profile['calendars'][0]['calendar_id']}/events"
    assert caller.http.post(url, json=an_event()).status_code == status
    assert caller.http.post("/v1/calendars/cal_unknown/events", json=an_event()).status_code == 404


@pytest.mark.parametrize(
    ("scope", "reads", "writes"),
    [
        pytest.param("read_write", 200, 202, id="read-write"),
        pytest.param("write_only", 403, 202, id="write-only"),
        pytest.param("read_events list_calendars", 200, 403, id="read-events"),
    ],
)
def test_scope_is_needed(caller: Caller, control: Control, scope: str, reads: int, writes: int) -> None:
    """A call outside the granted scope, composite or not, answers 403; UserInfo needs none."""
    control.set_scope(caller.account["sub"], scope)
    assert (caller.read().status_code, caller.write().status_code) == (reads, writes)
    assert caller.http.get("/v1/userinfo").json()["cronofy.data"]["authorization"]["scope"] == scope


def test_update_keeps_what_it_omits(caller: Caller, control: Control) -> None:
    """Optional fields that an update leaves out stay; attendees are neither lost nor invited again."""
    invite = {"invite": [{"email": "guest@example.org"}]}
    caller.write(description="Bring a pen", attendees=invite, location={"description": "Room 5"})
    caller.write(summary="Second interview")
    event = caller.the_event()
    assert event["summary"] == "Second interview"
    assert (event["description"], event["location"]) == ("Bring a pen", {"description": "Room 5"})
    assert [a["email"] for a in event["attendees"]] == ["guest@example.org"]
    assert [i["email"] for i in control.invitations()] == ["guest@example.org"]


def test_invited_again_is_another_invitation(caller: Caller, control: Control) -> None:
    """Attendees are a delta: sending them again sends them another invitation."""
    for delta in ("invite", "invite", "remove"):
        caller.write(attendees={delta: [{"email": "guest@example.org"}]})
    assert [i["action"] for i in control.invitations()] == ["invited", "invited", "removed"]
    assert caller.the_event()["attendees"] == []


def test_empty_subscriptions_remove_them(caller: Caller, control: Control) -> None:
    """`subscriptions: []` ends them, so that a later success is told to nobody."""
    hook = {"type": "webhook", "uri": "urn:hook", "interactions": [{"type": "conferencing_assigned"}]}
    control.set_settings(generation_seconds=0)
    block = {"conferencing": {"profile_id": "integrated"}}
    caller.write(subscriptions=[hook], **block)
    caller.write(**block)
    assert len(control.notifications()) == 2
    caller.write(subscriptions=[], **block)
    assert len(control.notifications()) == 2


def test_batch_answers_each_entry(caller: Caller, control: Control) -> None:
    """Each entry of a batch has its own status, and errors where it was refused."""
    url = f"/v1/calendars/{caller.calendar_id}/events"
    entries = [
        {"method": "POST", "relative_url": url, "data": an_event()},
        {"method": "POST", "relative_url": url, "data": {"event_id": "e2"}},
        {"method": "POST", "relative_url": "/v1/calendars/cal_x/events", "data": an_event()},
        {"method": "GET", "relative_url": "/v1/userinfo", "data": {}},
    ]
    answers = caller.http.post("/v1/batch", json={"batch": entries}).json()["batch"]
    assert [a["status"] for a in answers] == [202, 422, 404, 404]
    assert answers[0] == {"status": 202}
    assert answers[1]["data"]["errors"]["summary"][0]["key"] == "errors.required"
    assert [w["via"] for w in control.writes()] == ["batch"]


def test_batch_has_at_most_fifty_entries(caller: Caller) -> None:
    """A batch of 51 is refused as a whole."""
    entry = {"method": "POST", "relative_url": "/v1/calendars/cal_x/events", "data": {}}
    assert caller.http.post("/v1/batch", json={"batch": [entry] * 50}).status_code == 200
    assert caller.http.post("/v1/batch", json={"batch": [entry] * 51}).status_code == 422


def test_bulk_delete_takes_all_managed_events(caller: Caller) -> None:
    """delete_all deletes every event of the application."""
    caller.write()
    assert caller.http.request("DELETE", "/v1/events", json={"delete_all": True}).status_code == 202
    assert caller.ids(only_managed="true") == []


def test_person_moves_and_deletes(caller: Caller, control: Control) -> None:
    """What the event's owner changes shows in the next read."""
    caller.write()
    start, end = "2027-01-05T09:00:00Z", "2027-01-05T10:00:00Z"
    control.move_event(caller.calendar_id, "e1", summary="Moved", start=start, end=end)
    event = caller.the_event()
    assert (event["summary"], event["start"]) == ("Moved", "2027-01-05T09:00:00Z")
    control.delete_event(caller.calendar_id, "e1")
    assert caller.ids(only_managed="true") == []


# -- identity ---------------------------------------------------------------------------------------


def test_relink_urls_show_only_while_disconnected(caller: Caller, control: Control) -> None:
    """A profile of either kind has a relink URL, of its own form, only while it is disconnected."""
    sub = caller.account["sub"]
    zoom = control.add_conferencing_profile(sub)
    google = caller.account["calendar_profiles"][0]
    for profile in (zoom, google):
        control.disconnect_profile(sub, profile["profile_id"])
    data = caller.http.get("/v1/userinfo").json()["cronofy.data"]
    origin = str(caller.http.base_url).rstrip("/")
    (conferencing,), (calendar,) = data["conferencing_profiles"], data["profiles"]
    assert conferencing["profile_relink_url"].startswith(
        f"{origin}/v2/relink/zoom?email=dana%40example.org&token="
    )
    assert calendar["profile_relink_url"].startswith(
        f"{origin}/relink/google?email=dana%40example.org&token="
    )
    control.reconnect_profile(sub, zoom["profile_id"])
    (again,) = caller.http.get("/v1/userinfo").json()["cronofy.data"]["conferencing_profiles"]
    assert again["profile_id"] == zoom["profile_id"]
    assert "profile_relink_url" not in again


def test_conferencing_profiles_are_absent_until_one_was_authorised(caller: Caller, control: Control) -> None:
    """UserInfo has no conferencing_profiles before the first, and an empty list after the last."""
    assert "conferencing_profiles" not in caller.http.get("/v1/userinfo").json()["cronofy.data"]
    zoom = control.add_conferencing_profile(caller.account["sub"])
    control.remove_profile(caller.account["sub"], zoom["profile_id"])
    assert caller.http.get("/v1/userinfo").json()["cronofy.data"]["conferencing_profiles"] == []


def test_service_account_has_no_profiles(running: RunningSandbox, control: Control) -> None:
    """UserInfo of a service account says what it is and lists no profiles."""
    caller = Caller(running.url, control.create_account(sub="ser_1", type="service_account"))
    with caller.http:
        info = caller.http.get("/v1/userinfo").json()
    assert (info["sub"], info["cronofy.type"]) == ("ser_1", "service_account")
    assert set(info["cronofy.data"]) == {"authorization", "service_account"}
