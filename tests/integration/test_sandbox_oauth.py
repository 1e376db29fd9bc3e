"""How an application gets in and is shut out again, and what the sandbox does not stand in for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sandbox.control.control import Control
from sandbox.server import RunningSandbox
from tests.integration.sandbox_caller import Caller

CLIENT = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
BACK = "https://app.example/back?x=1"


@pytest.fixture
def caller(running: RunningSandbox, control: Control) -> Iterator[Caller]:
    """A caller for a new account."""
    caller = Caller(running.url, control.create_account(email="dana@example.org"))
    with caller.http:
        yield caller


def exchanged(caller: Caller, code: object, redirect_uri: str = BACK) -> tuple[int, Any]:
    """Status and body of an exchange of a code."""
    body = {**CLIENT, "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    response = caller.http.post("/oauth/token", json=body)
    return response.status_code, response.json()


def test_a_code_is_exchanged_once(caller: Caller, control: Control) -> None:
    """It gives tokens that work, the account and its profile; used again, it is refused."""
    code = control.create_code(caller.account["sub"], BACK)["code"]
    status, granted = exchanged(caller, code)
    assert (status, granted["account_id"], granted["sub"]) == (200, *[caller.account["sub"]] * 2)
    profile = caller.account["calendar_profiles"][0]["profile_id"]
    assert granted["linking_profile"]["profile_id"] == profile
    assert granted["linking_profile"]["profile_name"] == "dana@example.org"
    headers = {"Authorization": f"Bearer {granted['access_token']}"}
    assert caller.http.get("/v1/userinfo", headers=headers).status_code == 200
    assert exchanged(caller, code) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize("wrong", ["code", "address"])
def test_a_wrong_code_is_refused(caller: Caller, control: Control, wrong: str) -> None:
    """Unknown, or with another redirect address than it was made for."""
    code = control.create_code(caller.account["sub"], BACK)["code"]
    given = ("other", BACK) if wrong == "code" else (code, "https://app.example/other")
    assert exchanged(caller, *given) == (400, {"error": "invalid_grant"})


ASKED = {"response_type": "code", "client_id": "sandbox-client", "redirect_uri": BACK, "state": "s1"}


@pytest.mark.parametrize("who", ["known", "new"])
def test_a_person_lets_the_application_in(caller: Caller, control: Control, who: str) -> None:
    """The page offers the people there are, and somebody new, who grants the scope that was asked for."""
    asked = {**ASKED, "scope": "read_events"}
    assert "dana@example.org" in caller.http.get("/oauth/authorize", params=asked).text
    chosen = {"sub": caller.account["sub"]} if who == "known" else {}
    answer = caller.http.post("/oauth/authorize", params={**asked, **chosen})
    back = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert (answer.status_code, back["x"], back["state"]) == (303, ["1"], ["s1"])
    _, granted = exchanged(caller, back["code"][0])
    assert granted["scope"] == ("read_write" if who == "known" else "read_events")
    assert len(control.accounts()) == (1 if who == "known" else 2)


def test_a_person_refuses(caller: Caller) -> None:
    """The application is told so."""
    answer = caller.http.post("/oauth/authorize", params={**ASKED, "refuse": ""})
    assert answer.headers["Location"] == f"{BACK}&state=s1&error=access_denied"


def test_an_unknown_application_is_not_let_in(caller: Caller) -> None:
    """Nobody is redirected anywhere."""
    assert caller.http.get("/oauth/authorize", params={**ASKED, "client_id": "x"}).status_code == 400


@pytest.mark.parametrize("name", ["token", "refresh_token"])
def test_a_revocation_may_name_the_token_in_two_ways(caller: Caller, name: str) -> None:
    """As RFC 7009 and most SDKs do, and as Node's does."""
    body = {**CLIENT, name: caller.account["refresh_token"]}
    assert caller.http.post("/oauth/token/revoke", json=body).status_code == 200
    assert caller.http.get("/v1/userinfo").status_code == 401


@pytest.mark.parametrize("word", ["remove", "reject"])
def test_attendees_are_removed_by_two_words(caller: Caller, word: str) -> None:
    """The documentation says `remove`, the SDKs of Ruby and PHP say `reject`."""
    guest = {"email": "guest@example.org"}
    caller.write(attendees={"invite": [guest]})
    caller.write(attendees={word: [guest]})
    assert caller.the_event()["attendees"] == []


def test_a_calendar_is_created(caller: Caller) -> None:
    """It is listed with its profile, and events can be written to it."""
    profile = caller.account["calendar_profiles"][0]
    body = {"profile_id": profile["profile_id"], "name": "Interviews", "color": "#49BED8"}
    made = caller.http.post("/v1/calendars", json=body).json()["calendar"]
    assert made in caller.http.get("/v1/calendars").json()["calendars"]
    assert (made["calendar_name"], made["calendar_readonly"]) == ("Interviews", False)
    caller.calendar_id = made["calendar_id"]
    assert caller.write().status_code == 202


@pytest.mark.parametrize(
    ("fields", "status", "wrong"),
    [
        pytest.param({"name": ""}, 422, ["name"], id="no name"),
        pytest.param({"name": "Work"}, 422, ["name"], id="a name that is taken"),
        pytest.param({"profile_id": None}, 422, ["profile_id"], id="no profile"),
        pytest.param({"profile_id": "pro_x"}, 404, [], id="an unknown profile"),
    ],
)
def test_bad_calendar_is_refused(
    caller: Caller, fields: dict[str, Any], status: int, wrong: list[str]
) -> None:
    """A 422 says which field is wrong."""
    profile_id = caller.account["calendar_profiles"][0]["profile_id"]
    response = caller.http.post("/v1/calendars", json={"profile_id": profile_id, "name": "New", **fields})
    assert response.status_code == status
    assert list(response.json()["errors"] if wrong else []) == wrong


def test_a_disconnected_profile_is_locked(caller: Caller, control: Control) -> None:
    """No calendar can be created in it: 423."""
    profile_id = caller.account["calendar_profiles"][0]["profile_id"]
    control.disconnect_profile(caller.account["sub"], profile_id)
    body = {"profile_id": profile_id, "name": "New"}
    assert caller.http.post("/v1/calendars", json=body).status_code == 423


@pytest.mark.parametrize("key", ["an access token", "the application's key"])
def test_what_is_not_here_says_so(caller: Caller, key: str) -> None:
    """404 in one sentence, whether the call takes a token or the client secret; 401 to strangers."""
    headers = {} if key == "an access token" else {"Authorization": "Bearer sandbox-secret"}
    response = caller.http.post("/v1/smart_invites", json={}, headers=headers)
    assert (response.status_code, "does not stand in" in response.text) == (404, True)
    stranger = {"Authorization": "Bearer nobody"}
    assert caller.http.get("/v1/availability", headers=stranger).status_code == 401
    own = {"Authorization": "Bearer sandbox-secret"}
    assert caller.http.get("/v1/userinfo", headers=own).status_code == 401


def test_the_clock_is_moved_ahead(caller: Caller, control: Control) -> None:
    """What falls due is done at once: a conference is made, and access tokens expire. It never goes back."""
    before = control.clock()["now"]
    caller.write(conferencing={"profile_id": "integrated"})
    control.advance_clock(7200)
    assert control.clock()["now"] > before
    assert caller.http.get("/v1/userinfo").status_code == 401
    assert "join_url" in control.event(caller.calendar_id, "e1")["conferencing"]
    with pytest.raises(httpx.HTTPStatusError, match="only moves ahead"):
        control.advance_clock(-1)
