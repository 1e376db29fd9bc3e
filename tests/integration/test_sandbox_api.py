"""The sandbox's API over HTTP: what reads return, and what writes need and change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.control.control import Control
from sandbox.server import RunningSandbox
from tests.integration.sandbox_caller import Caller, an_event


@pytest.fixture
def caller(running: RunningSandbox, control: Control) -> Iterator[Caller]:
    """A caller for a new account in London."""
    caller = Caller(running.url, control.create_account(zoneinfo="Europe/London"))
    with caller.http:
        yield caller


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("tzid", "", "tzid_unrecognized"),
        ("tzid", "Mars/Base", "tzid_unrecognized"),
        ("include_managed", "maybe", "must_be_boolean"),
        ("calendar_ids[]", "cal_x", "invalid_calendar_ids"),
        ("from", "soon", "invalid"),
    ],
)
def test_bad_query_is_refused(caller: Caller, field: str, value: str, key: str) -> None:
    """A query that cannot be parsed gets 422 and an error under the parameter's name."""
    response = caller.read(**{field: value})
    [[error]] = response.json()["errors"].values()
    assert (response.status_code, error["key"]) == (422, f"errors.{key}")
    assert list(response.json()["errors"]) == [field.removesuffix("[]")]


@pytest.mark.parametrize(
    ("days", "query", "found"),
    [
        pytest.param(1, {}, ["own"], id="managed-left-out-by-default"),
        pytest.param(1, {"include_managed": "True"}, ["own", "e1"], id="capitalised-bool"),
        pytest.param(1, {"only_managed": "true"}, ["e1"], id="only-managed"),
        pytest.param(-60, {"include_managed": "true"}, ["e1"], id="before-the-default-window"),
        pytest.param(300, {"include_managed": "true"}, ["e1"], id="beyond-the-default-window"),
    ],
)
def test_managed_events_only_when_asked_for(
    caller: Caller, control: Control, days: float, query: dict[str, str], found: list[str]
) -> None:
    """The application's own events are read only on request, and outside the default window too."""
    caller.write(**an_event(days + 1))
    start, end = (an_event(day)["start"][:10] for day in (days, days + 1))  # all day
    sub = caller.account["sub"]
    control.create_external_event(sub, caller.calendar_id, summary="own", start=start, end=end)
    assert caller.ids(**query) == found


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
        pytest.param({"last_modified": "2020-01-01T00:00:00Z"}, ["e1"], id="modified-since"),
        pytest.param({"last_modified": "2099-01-01T00:00:00Z"}, [], id="not-modified-since"),
    ],
)
def test_query_narrows_managed_events(caller: Caller, query: dict[str, str], found: list[str]) -> None:
    """An explicit from, to or last_modified filters managed events; dates are read in tzid."""
    caller.write(start="2027-03-10T09:00:00Z", end="2027-03-10T10:00:00Z")
    assert caller.ids(only_managed="true", **query) == found


def test_localized_times_name_the_events_zone(caller: Caller) -> None:
    """With localized_times, start and end are objects in the zone the event was written in."""
    caller.write(tzid="Europe/Paris", start="2027-07-01T10:00:00", end="2027-07-01T11:00:00")
    localized = {"time": "2027-07-01T10:00:00+02:00", "tzid": "Europe/Paris"}
    assert caller.the_event()["start"] == "2027-07-01T08:00:00Z"
    assert caller.the_event(localized_times="true")["start"] == localized


def test_pages_lead_to_each_other_on_the_same_origin(
    caller: Caller, control: Control, running: RunningSandbox
) -> None:
    """next_page is absolute, on the called origin, for this account only, and absent on the last page."""
    control.set_settings(page_size=2)
    for n in range(5):
        caller.write(**{**an_event(n + 1), "event_id": f"e{n}"})
    pages = [caller.read(only_managed="true").json()]
    while next_page := pages[-1]["pages"].get("next_page"):
        assert next_page.startswith(f"{running.url}/v1/events/pages/")
        with Caller(running.url, control.create_account()).http as other:
            assert other.get(next_page).status_code == 404
        pages.append(caller.http.get(next_page).json())
    assert [(p["pages"]["current"], p["pages"]["total"]) for p in pages] == [(1, 3), (2, 3), (3, 3)]
    assert [e["event_id"] for p in pages for e in p["events"]] == [f"e{n}" for n in range(5)]


#: The field of the error, its key, and the body's fields that cause it.
BAD_WRITES: list[tuple[str, str, dict[str, Any]]] = [
    *((name, "required", {name: None}) for name in ("event_id", "summary", "start", "end")),
    ("summary", "too_long", {"summary": "x" * 1025}),
    ("tzid", "tzid_unrecognized", {"tzid": "Mars/Base"}),
    ("start", "invalid", {"start": "soon"}),
    ("end", "invalid_time_pair", {"end": "2020-01-01T00:00:00Z"}),
    ("attendees", "invalid", {"attendees": "dana"}),
    ("attendees.invite[0].email", "invalid_email", {"attendees": {"invite": [{"email": "nobody"}]}}),
    ("conferencing.profile_id", "required", {"conferencing": {"x": 1}}),
    ("conferencing.profile_id", "not_recognized", {"conferencing": {"profile_id": "pro_x"}}),
    ("conferencing.join_url", "required", {"conferencing": {"profile_id": "explicit"}}),
]


@pytest.mark.parametrize(
    ("field", "key", "fields"), [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in BAD_WRITES]
)
def test_bad_write_is_refused(caller: Caller, field: str, key: str, fields: dict[str, Any]) -> None:
    """An incomplete or invalid body gets 422 by field, and nothing is written."""
    response = caller.write(**fields)
    assert (response.status_code, response.json()["errors"][field][0]["key"]) == (422, f"errors.{key}")
    assert caller.ids(only_managed="true") == []


@pytest.mark.parametrize(
    ("calendar", "status"),
    [({}, 202), ({"readonly": True}, 403), ({"deleted": True}, 404)],
    ids=["writable", "read-only", "deleted"],
)
def test_calendar_must_be_writable(
    caller: Caller, control: Control, calendar: dict[str, Any], status: int
) -> None:
    """A write gets 202 and no body; on a read-only calendar 403, on a missing one 404."""
    profile = control.add_calendar_profile(caller.account["sub"], calendars=[calendar])
    caller.calendar_id = profile["calendars"][0]["calendar_id"]
    response = caller.write()
    assert (response.status_code, response.content) == (status, b"")


@pytest.mark.parametrize(
    ("scope", "reads", "writes"),
    [("read_write", 200, 202), ("write_only", 403, 202), ("read_events list_calendars", 200, 403)],
)
def test_scope_is_needed(caller: Caller, control: Control, scope: str, reads: int, writes: int) -> None:
    """A call outside the granted scope, composite or not, gets 403; UserInfo needs none."""
    control.set_scope(caller.account["sub"], scope)
    assert (caller.read().status_code, caller.write().status_code) == (reads, writes)
    assert caller.http.get("/v1/userinfo").json()["cronofy.data"]["authorization"]["scope"] == scope


def test_update_keeps_what_it_omits(caller: Caller, control: Control) -> None:
    """Optional fields that an update omits stay; attendees are neither lost nor invited again."""
    guest = {"email": "guest@example.org"}
    caller.write(description="Bring a pen", attendees={"invite": [guest]}, location={"description": "Room 5"})
    caller.write(summary="Second interview")
    event = caller.the_event()
    shown = [event[name] for name in ("summary", "description", "location")]
    assert shown == ["Second interview", "Bring a pen", {"description": "Room 5"}]
    assert [a["email"] for a in event["attendees"]] == [guest["email"]]
    for delta in ("invite", "remove"):
        caller.write(attendees={delta: [guest]})
    assert [i["action"] for i in control.invitations()] == ["invited", "invited", "removed"]
    assert caller.the_event()["attendees"] == []


def test_empty_subscriptions_remove_them(caller: Caller, control: Control) -> None:
    """An update without subscriptions keeps them, `subscriptions: []` removes them."""
    hook = {"type": "webhook", "uri": "urn:hook", "interactions": [{"type": "conferencing_assigned"}]}
    control.set_settings(generation_seconds=0)
    for fields, sent in (({"subscriptions": [hook]}, 1), ({}, 2), ({"subscriptions": []}, 2)):
        caller.write(conferencing={"profile_id": "integrated"}, **fields)
        assert len(control.notifications()) == sent


def test_batch_answers_each_entry(caller: Caller, control: Control) -> None:
    """Each entry of a batch has its own status, and its errors if it was refused."""
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
    assert caller.http.post("/v1/batch", json={"batch": [entries[3]] * 50}).status_code == 207
    assert caller.http.post("/v1/batch", json={"batch": [entries[3]] * 51}).status_code == 422


@pytest.mark.parametrize(("reading", "statuses"), [("decoded", [202, 202]), ("raw", [202, 404])])
def test_batch_addresses_are_decoded_or_not(
    caller: Caller, control: Control, reading: str, statuses: list[int]
) -> None:
    """Cronofy does not say whether a batch decodes the addresses of its entries."""
    control.set_personality(batch_urls=reading, batch_status=200)
    urls = [f"/v1/calendars/{name}/events" for name in (caller.calendar_id, f"%63{caller.calendar_id[1:]}")]
    entries = [{"method": "POST", "relative_url": url, "data": an_event()} for url in urls]
    answer = caller.http.post("/v1/batch", json={"batch": entries})
    assert answer.status_code == 200
    assert [entry["status"] for entry in answer.json()["batch"]] == statuses


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"json": {"delete_all": True}}, id="in the body"),
        pytest.param({"params": {"delete_all": "True"}}, id="in the query, as Python's SDK asks"),
    ],
)
def test_bulk_delete_takes_all_managed_events(caller: Caller, asked: dict[str, Any]) -> None:
    """delete_all deletes every event of the application."""
    caller.write()
    assert caller.http.request("DELETE", "/v1/events", **asked).status_code == 202
    assert caller.ids(only_managed="true") == []


@pytest.mark.parametrize(
    ("listed", "provider", "path"),
    [
        pytest.param("conferencing_profiles", "zoom", "v2/relink/zoom", id="conferencing"),
        pytest.param("profiles", "google", "relink/google", id="calendar"),
    ],
)
def test_relink_urls_show_only_while_disconnected(
    caller: Caller, control: Control, listed: str, provider: str, path: str
) -> None:
    """A profile of either kind has a relink URL, in its own form, only while it is disconnected."""
    sub, zoom = caller.account["sub"], control.add_conferencing_profile(caller.account["sub"])
    profiles = {"google": caller.account["calendar_profiles"][0], "zoom": zoom}

    def shown() -> Any:
        return caller.http.get("/v1/userinfo").json()["cronofy.data"][listed][0]

    before = shown()
    control.disconnect_profile(sub, profiles[provider]["profile_id"])
    url = httpx.URL(caller.http.base_url).join(f"/{path}?email=dana%40example.org&token=")
    assert shown()["profile_relink_url"].startswith(str(url))
    control.reconnect_profile(sub, profiles[provider]["profile_id"])
    assert shown() == before
    assert "profile_relink_url" not in before


def test_conferencing_profiles_are_absent_until_one_was_authorised(caller: Caller, control: Control) -> None:
    """UserInfo has no conferencing_profiles before the first, and an empty list after the last."""
    assert "conferencing_profiles" not in caller.http.get("/v1/userinfo").json()["cronofy.data"]
    zoom = control.add_conferencing_profile(caller.account["sub"])
    control.remove_profile(caller.account["sub"], zoom["profile_id"])
    assert caller.http.get("/v1/userinfo").json()["cronofy.data"]["conferencing_profiles"] == []


def test_service_account_has_no_profiles(running: RunningSandbox, control: Control) -> None:
    """A service account's UserInfo says so and lists no profiles."""
    with Caller(running.url, control.create_account(sub="ser_1", type="service_account")).http as http:
        info = http.get("/v1/userinfo").json()
    assert (info["sub"], info["cronofy.type"]) == ("ser_1", "service_account")
    assert set(info["cronofy.data"]) == {"authorization", "service_account"}
