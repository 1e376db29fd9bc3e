"""The sandbox's rate limits, its log of requests, and the faults of the API."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sandbox.control.control import Control
from sandbox.world.traffic import LoggedRequest, Traffic
from tests.integration.sandbox_caller import Caller


@pytest.fixture
def api(control: Control) -> Iterator[httpx.Client]:
    """The API with the token of a new account."""
    with Caller(control.base_url, control.create_account(sub="acc_1")).http as client:
        yield client


#: Limits per second and minute (0 for none), and arrivals: when, at what cost, and whether they pass.
WINDOWS: dict[str, tuple[tuple[int, int], list[tuple[float, int, bool]]]] = {
    "third in a second": ((2, 0), [(0.0, 1, True), (0.5, 1, True), (0.9, 1, False)]),
    "not by full seconds": ((2, 0), [(0.6, 1, True), (0.7, 1, True), (1.5, 1, False), (1.6, 1, True)]),
    "a second later": ((1, 0), [(0.0, 1, True), (1.0, 1, True)]),
    "refused takes no room": ((2, 0), [(0.0, 2, True), (0.5, 1, False), (0.9, 1, False), (1.0, 2, True)]),
    "minute": ((0, 2), [(0.0, 1, True), (30.0, 1, True), (59.0, 1, False), (60.0, 1, True)]),
    "batch": ((5, 0), [(0.0, 3, True), (0.1, 3, False), (0.2, 2, True)]),
    "no limit": ((0, 0), [(0.0, 50, True)] * 20),
}


@pytest.mark.parametrize("row", WINDOWS)
def test_windows_are_exact(row: str) -> None:
    """A request passes exactly if its cost fits into the second and the minute that end with it."""
    limits, arrivals = WINDOWS[row]
    traffic = Traffic()
    for at, cost, passes in arrivals:
        request = LoggedRequest("GET", "/v1/userinfo", "", "acc_1", cost=cost, monotonic=at)
        assert (traffic.admit(request, *limits) == 0) is passes


def test_rates_are_the_highest_of_any_window() -> None:
    """The rates count all that arrived in any sliding second and minute, even refused, but no 401."""
    traffic = Traffic()
    for at, cost, status in [(0.0, 1, 200), (0.8, 2, 200), (1.5, 3, 429), (1.6, 9, 401), (40.0, 1, 200)]:
        request = LoggedRequest("GET", "/v1/events", "", None, cost=cost, status=status, monotonic=at)
        traffic.log.append(request)
    assert traffic.rates() == {"max_per_second": 5, "max_per_minute": 7}


def test_over_the_limit_is_429(api: httpx.Client, control: Control) -> None:
    """The third call within a minute at a limit of two is refused, and a 401 does not count."""
    control.set_settings(per_minute=2)
    for _ in range(3):
        assert api.get("/v1/userinfo", headers={"Authorization": "Bearer nobody"}).status_code == 401
    assert [api.get("/v1/userinfo").status_code for _ in range(3)] == [200, 200, 429]
    assert control.rates()["max_per_minute"] == 3


@pytest.mark.parametrize(
    ("style", "given"),
    [pytest.param("none", "", id="none"), ("seconds", r"59|60"), ("date", r"\w{3}, .* GMT")],
)
def test_retry_after_of_a_429(api: httpx.Client, control: Control, style: str, given: str) -> None:
    """A 429 has no Retry-After, or one in seconds or as a date, as configured."""
    control.set_settings(per_minute=1)
    control.set_personality(retry_after=style)
    api.get("/v1/userinfo")
    assert re.fullmatch(given, api.get("/v1/userinfo").headers.get("Retry-After", ""))


@pytest.mark.parametrize(("cost", "status"), [("items", 429), ("call", 207)])
def test_batch_counts_as_set(api: httpx.Client, control: Control, cost: str, status: int) -> None:
    """A batch of three counts as three or as one."""
    control.set_settings(per_second=2)
    control.set_personality(batch_cost=cost)
    entry = {"method": "POST", "relative_url": "/v1/calendars/cal_x/events", "data": {}}
    assert api.post("/v1/batch", json={"batch": [entry] * 3}).status_code == status


def test_every_request_is_logged(api: httpx.Client, control: Control) -> None:
    """The log has method, path, account, status and time of each API request, and of nothing else."""
    before = time.time()
    api.get("/v1/userinfo")
    api.get("/v1/events")
    api.get("/mail")
    seen = control.requests()
    assert [(r["method"], r["path"], r["sub"], r["status"]) for r in seen] == [
        ("GET", "/v1/userinfo", "acc_1", 200),
        ("GET", "/v1/events", "acc_1", 422),
    ]
    assert before <= seen[0]["ts"] <= seen[1]["ts"] <= time.time()
    assert [r["path"] for r in control.requests("userinfo")] == ["/v1/userinfo"]


#: Faults, and their status, header and body (or part of it).
ANSWERS: dict[str, tuple[dict[str, Any], int, dict[str, str], str]] = {
    "status": ({"kind": "status"}, 503, {}, ""),
    "another status": ({"kind": "status", "status": 402}, 402, {}, ""),
    "wait": ({"kind": "status", "retry_after": 7}, 503, {"Retry-After": "7"}, ""),
    "wait until": ({"kind": "status", "retry_after": "date"}, 503, {"Retry-After": "GMT"}, ""),
    "html": ({"kind": "html", "status": 200}, 200, {"Content-Type": "text/html"}, "<h1>"),
    "wrong shape": ({"kind": "wrong_shape", "body": ["?"]}, 200, {}, '["?"]'),
    "empty UserInfo": ({"kind": "empty_userinfo"}, 200, {}, "{}"),
    "slow": ({"kind": "slow", "seconds": 0.2}, 200, {}, "dana@example.org"),
}


@pytest.mark.parametrize("row", ANSWERS)
def test_fault_answers_instead(api: httpx.Client, control: Control, row: str) -> None:
    """A fault gives its own answer, or a late one, as often as configured; then the true one returns."""
    fault, status, header, body = ANSWERS[row]
    control.add_fault(**fault, times=2)
    for _ in range(2):
        response = api.get("/v1/userinfo")
        assert (response.status_code, body in response.text) == (status, True)
        assert response.elapsed >= timedelta(seconds=fault.get("seconds", 0))
        assert all(value in response.headers[name] for name, value in header.items())
    assert api.get("/v1/userinfo").json()["email"] == "dana@example.org"
    assert [f["hits"] for f in control.faults()] == [2]


@pytest.mark.parametrize(
    ("fault", "timeout", "error"),
    [
        ({"kind": "truncated"}, 5, httpx.RemoteProtocolError),
        ({"kind": "reset"}, 5, httpx.ReadError),
        ({"kind": "hang"}, 0.1, httpx.ReadTimeout),
        ({"kind": "hang", "seconds": 0.05}, 5, httpx.ReadError),
    ],
)
def test_fault_breaks_the_connection(
    api: httpx.Client, control: Control, fault: dict[str, Any], timeout: float, error: type[Exception]
) -> None:
    """The client notices a broken or silent connection, and the next call works."""
    control.add_fault(**fault, times=1)
    with pytest.raises(error):
        api.get("/v1/userinfo", timeout=timeout)
    assert api.get("/v1/userinfo").status_code == 200


@pytest.mark.parametrize(
    ("match", "status"),
    [
        ({}, 503),
        ({"method": "get", "path_prefix": "/v1/user", "sub": "acc_1"}, 503),
        ({"method": "POST"}, 200),
        ({"path_prefix": "/v1/events"}, 200),
        ({"sub": "acc_2"}, 200),
    ],
    ids=str,
)
def test_fault_hits_what_it_matches(
    api: httpx.Client, control: Control, match: dict[str, str], status: int
) -> None:
    """A fault hits only requests with its method, path and account."""
    control.add_fault("status", match=match)
    assert api.get("/v1/userinfo").status_code == status


def test_fault_with_a_probability_is_repeatable(api: httpx.Client, control: Control) -> None:
    """The same seed hits the same requests."""
    runs = []
    for _ in range(2):
        control.clear_faults()
        control.add_fault("status", probability=0.5, seed=42)
        runs.append([api.get("/v1/userinfo").status_code for _ in range(10)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 503}


def test_refresh_can_be_hit_by_account(api: httpx.Client, control: Control) -> None:
    """A fault for one account hits its refresh too, by the refresh token in the body."""
    control.add_fault("status", match={"path_prefix": "/oauth", "sub": "acc_1"})
    for refresh_token, status in ((control.account("acc_1")["refresh_token"], 503), ("other", 400)):
        body = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        assert api.post("/oauth/token", json=body).status_code == status
