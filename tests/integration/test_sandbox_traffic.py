"""The sandbox's rate limits, its record of requests, and the faults laid on the API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from sandbox.control.control import Control
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from sandbox.world.traffic import LoggedRequest, Traffic


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module."""
    with RunningSandbox(SandboxOptions(page_size=1)) as sandbox:
        yield sandbox


@pytest.fixture
def account(control: Control) -> dict[str, Any]:
    """A new account."""
    return control.create_account()


@pytest.fixture
def api(running: RunningSandbox, account: dict[str, Any]) -> Iterator[httpx.Client]:
    """The API with that account's token."""
    headers = {"Authorization": f"Bearer {account['access_token']}"}
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False, timeout=5.0) as client:
        yield client


def admitted(traffic: Traffic, arrivals: list[tuple[float, int]], **limits: int) -> list[bool]:
    """Tell of each (time, cost) whether it was let through."""
    return [
        traffic.admit(
            LoggedRequest("GET", "/v1/userinfo", "", "acc_1", cost=cost, monotonic=at),
            limits.get("per_second", 0),
            limits.get("per_minute", 0),
        )
        == 0
        for at, cost in arrivals
    ]


@pytest.mark.parametrize(
    ("limits", "arrivals", "expected"),
    [
        pytest.param(
            {"per_second": 2}, [(0.0, 1), (0.5, 1), (0.9, 1)], [True, True, False], id="third-in-a-second"
        ),
        pytest.param(
            {"per_second": 2},
            [(0.6, 1), (0.7, 1), (1.5, 1), (1.6, 1)],
            [True, True, False, True],
            id="slides-over-full-seconds",
        ),
        pytest.param({"per_second": 1}, [(0.0, 1), (1.0, 1)], [True, True], id="a-second-later-is-free"),
        pytest.param(
            {"per_second": 2},
            [(0.0, 2), (0.5, 1), (0.9, 1), (1.0, 2)],
            [True, False, False, True],
            id="refused-takes-no-room",
        ),
        pytest.param(
            {"per_minute": 2},
            [(0.0, 1), (30.0, 1), (59.0, 1), (60.0, 1)],
            [True, True, False, True],
            id="minute",
        ),
        pytest.param({"per_second": 5}, [(0.0, 3), (0.1, 3), (0.2, 2)], [True, False, True], id="batch-cost"),
        pytest.param({}, [(0.0, 50)] * 20, [True] * 20, id="no-limit"),
    ],
)
def test_windows_are_exact(
    limits: dict[str, int], arrivals: list[tuple[float, int]], expected: list[bool]
) -> None:
    """A request passes exactly if its cost fits into the second and the minute that end with it."""
    assert admitted(Traffic(), arrivals, **limits) == expected


def test_rates_are_the_highest_of_any_window() -> None:
    """The rates count what arrived within any sliding second and minute, refused or not, but no 401."""
    traffic = Traffic()
    for at, cost, status in [(0.0, 1, 200), (0.8, 2, 200), (1.5, 3, 429), (1.6, 9, 401), (40.0, 1, 200)]:
        traffic.log.append(
            LoggedRequest("GET", "/v1/events", "", None, cost=cost, status=status, monotonic=at)
        )
    assert traffic.rates() == {"max_per_second": 5, "max_per_minute": 7}


def test_over_the_limit_is_429(api: httpx.Client, control: Control) -> None:
    """The third call within a minute at a limit of two is refused, and a 401 would not have counted."""
    control.set_settings(per_minute=2)
    for _ in range(3):
        assert api.get("/v1/userinfo", headers={"Authorization": "Bearer nobody"}).status_code == 401
    assert [api.get("/v1/userinfo").status_code for _ in range(3)] == [200, 200, 429]
    assert control.rates()["max_per_minute"] == 3


@pytest.mark.parametrize("style", ["none", "seconds", "date"])
def test_retry_after_of_a_429(api: httpx.Client, control: Control, style: str) -> None:
    """A 429 says in Retry-After nothing, seconds or a date, as set; waiting that long would do."""
    control.set_settings(per_minute=1, retry_after=style)
    api.get("/v1/userinfo")
    given = api.get("/v1/userinfo").headers.get("Retry-After")
    if style == "none":
        assert given is None
    elif style == "seconds":
        assert 59 <= int(given or 0) <= 60
    else:
        assert 58 <= parsedate_to_datetime(given or "").timestamp() - time.time() <= 62


@pytest.mark.parametrize(("cost", "status"), [("items", 429), ("call", 200)])
def test_batch_counts_as_set(api: httpx.Client, control: Control, cost: str, status: int) -> None:
    """A batch of three counts as three or as one."""
    control.set_settings(per_second=2, batch_cost=cost)
    entry = {"method": "POST", "relative_url": "/v1/calendars/cal_x/events", "data": {}}
    assert api.post("/v1/batch", json={"batch": [entry] * 3}).status_code == status


def test_every_request_is_on_record(api: httpx.Client, control: Control, account: dict[str, Any]) -> None:
    """The log has method, path, account, status and time of each API request, and of nothing else."""
    before = time.time()
    api.get("/v1/userinfo")
    api.get("/v1/events")
    api.get("/mail")
    seen = control.requests()
    assert [(r["method"], r["path"], r["sub"], r["status"]) for r in seen] == [
        ("GET", "/v1/userinfo", account["sub"], 200),
        ("GET", "/v1/events", account["sub"], 422),
    ]
    assert before <= seen[0]["ts"] <= seen[1]["ts"] <= time.time()
    assert [r["path"] for r in control.requests("userinfo")] == ["/v1/userinfo"]


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        pytest.param({"kind": "status"}, 503, b"", id="status"),
        pytest.param({"kind": "status", "status": 402}, 402, b"", id="another-status"),
        pytest.param({"kind": "wrong_shape", "body": ["?"]}, 200, b'["?"]', id="wrong-shape"),
        pytest.param({"kind": "empty_userinfo"}, 200, b"{}", id="empty-userinfo"),
    ],
)
def test_fault_answers_instead(
    api: httpx.Client, control: Control, fault: dict[str, Any], status: int, body: bytes
) -> None:
    """A fault gives its own answer as often as told, and then the true one comes again."""
    control.add_fault(**fault, times=2)
    for _ in range(2):
        response = api.get("/v1/userinfo")
        assert (response.status_code, response.content) == (status, body)
    assert api.get("/v1/userinfo").json()["email"] == "dana@example.org"
    assert [f["hits"] for f in control.faults()] == [2]


def test_html_fault_is_no_json(api: httpx.Client, control: Control) -> None:
    """An html fault gives a page, with the status asked for."""
    control.add_fault("html", status=200)
    response = api.get("/v1/userinfo")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(("retry_after", "given"), [(7, "7"), ("date", "GMT")])
def test_status_fault_may_say_when_to_retry(
    api: httpx.Client, control: Control, retry_after: object, given: str
) -> None:
    """A status fault carries Retry-After as seconds or as a date."""
    control.add_fault("status", status=429, retry_after=retry_after)
    assert api.get("/v1/userinfo").headers["Retry-After"].endswith(given)


@pytest.mark.parametrize(
    ("fault", "timeout", "error"),
    [
        pytest.param({"kind": "truncated"}, 5, httpx.RemoteProtocolError, id="truncated"),
        pytest.param({"kind": "reset"}, 5, httpx.ReadError, id="reset"),
        pytest.param({"kind": "hang"}, 0.1, httpx.ReadTimeout, id="hang"),
        pytest.param({"kind": "hang", "seconds": 0.05}, 5, httpx.ReadError, id="hang-then-close"),
    ],
)
def test_fault_breaks_the_connection(
    api: httpx.Client, control: Control, fault: dict[str, Any], timeout: float, error: type[Exception]
) -> None:
    """A broken or silent connection is felt as such by the client, and the next call works."""
    control.add_fault(**fault, times=1)
    with pytest.raises(error):
        api.get("/v1/userinfo", timeout=timeout)
    assert api.get("/v1/userinfo").status_code == 200


def test_slow_fault_gives_the_true_answer_late(api: httpx.Client, control: Control) -> None:
    """A slow fault delays the true answer."""
    control.add_fault("slow", seconds=0.2, times=1)
    begun = time.monotonic()
    assert api.get("/v1/userinfo").status_code == 200
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("kind", ["page_loop", "foreign_next_page"])
def test_fault_of_paging(api: httpx.Client, control: Control, account: dict[str, Any], kind: str) -> None:
    """A page may lead back to itself, or to another origin, and claims that more is to come."""
    control.add_fault(kind, match={"path_prefix": "/v1/events"}, url="https://foreign.example/x")
    response = api.get("/v1/events", params={"tzid": "Etc/UTC"})
    pages = response.json()["pages"]
    expected = str(response.url) if kind == "page_loop" else "https://foreign.example/x"
    assert pages["next_page"] == expected
    assert pages["total"] > pages["current"]


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        pytest.param({}, True, id="everything"),
        pytest.param({"method": "get", "path_prefix": "/v1/user", "sub": "acc_1"}, True, id="all-fit"),
        pytest.param({"method": "POST"}, False, id="other-method"),
        pytest.param({"path_prefix": "/v1/events"}, False, id="other-path"),
        pytest.param({"sub": "acc_2"}, False, id="other-account"),
    ],
)
def test_fault_hits_what_it_matches(
    api: httpx.Client, control: Control, account: dict[str, Any], match: dict[str, str], hit: bool
) -> None:
    """A fault hits only requests with its method, path and account."""
    control.add_fault(
        "status", match={**match, **({"sub": account["sub"]} if match.get("sub") == "acc_1" else {})}
    )
    assert (api.get("/v1/userinfo").status_code == 503) is hit


def test_fault_with_a_probability_is_repeatable(api: httpx.Client, control: Control) -> None:
    """The same seed hits the same requests."""
    runs = []
    for _ in range(2):
        control.clear_faults()
        control.add_fault("status", probability=0.5, seed=42)
        runs.append([api.get("/v1/userinfo").status_code for _ in range(10)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 503}


def test_refresh_can_be_hit_by_account(
    running: RunningSandbox, control: Control, account: dict[str, Any]
) -> None:
    """A fault for one account hits its refresh too, by the refresh token in the body."""
    control.add_fault("status", match={"path_prefix": "/oauth", "sub": account["sub"]})
    body = {"grant_type": "refresh_token", "refresh_token": account["refresh_token"]}
    url = f"{running.url}/oauth/token"
    assert httpx.post(url, json=body, trust_env=False).status_code == 503
    assert httpx.post(url, json={**body, "refresh_token": "other"}, trust_env=False).status_code == 400


def test_unknown_fault_is_refused(control: Control) -> None:
    """A misspelt fault is an error, not a fault that never strikes."""
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        control.add_fault("stutter")
