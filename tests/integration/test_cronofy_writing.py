"""The Cronofy client against the sandbox: Update Event, single and in batches, and our own credentials."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.integration.test_cronofy_reading import Caller, a_body, caller, connected
from tests.personalities import under
from worker.cronofy.budget import Budget
from worker.cronofy.client import Update
from worker.cronofy.errors import (
    ClientRefused,
    CronofyError,
    GrantRefused,
    Malformed,
    NotFound,
    OutOfBudget,
    RateLimited,
    Refused,
    ServerFault,
)
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey

__all__ = ["caller"]


def written(caller: Caller) -> list[tuple[str, str]]:
    """Event id and source of the writes that the sandbox accepted."""
    return [(w["event_id"], w["via"]) for w in caller.control.writes()]


@pytest.mark.parametrize(
    ("ids", "via", "calls"),
    [
        pytest.param([], "", 0, id="none"),
        pytest.param(["e1"], "event", 1, id="one goes alone"),
        pytest.param(["e1", "e2"], "batch", 1, id="two through Batch"),
    ],
)
def test_updates_take_as_few_calls_as_possible(caller: Caller, ids: list[str], via: str, calls: int) -> None:
    """Nothing to write is no call, and a batch of one would only cost more; each has its whole body."""
    assert caller.update(*ids, summary="New") == [None] * len(ids)
    assert written(caller) == [(event_id, via) for event_id in ids]
    assert {w["body"]["summary"] for w in caller.control.writes()} <= {"New"}
    assert len(caller.calls()) == calls


SIXTY = [f"e{number:02}" for number in range(60)]


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        pytest.param({}, [50, 10], id="counted as its items"),
        pytest.param({"batch_counts_items": False}, [50, 10], id="counted as one call"),
        pytest.param({"per_second": 40}, [20, 20, 20], id="waiting for the second it fits into"),
    ],
)
def test_sixty_updates_are_split(
    running: RunningSandbox, ledger: Ledger, options: dict[str, Any], batches: list[int]
) -> None:
    """A batch has fifty at most, and no more than a second allows, of which two calls are spent."""
    with connected(running, ledger, **options) as caller:
        budget(caller).take(2)
        assert caller.update(*SIXTY) == [None] * 60
        assert [event_id for event_id, _ in written(caller)] == SIXTY
        assert [r["cost"] for r in caller.control.requests("/v1/batch")] == batches
        assert caller.control.rates()["max_per_second"] <= options.get("per_second", 60)


def test_updates_that_no_budget_is_left_for_are_put_off(running: RunningSandbox, ledger: Ledger) -> None:
    """What fits into the current minute is sent, in order; the rest is left for a later look."""
    with connected(running, ledger, per_minute=40) as caller:
        results = caller.update(*SIXTY)
        assert [type(error) for error in results] == [type(None)] * 40 + [OutOfBudget] * 20
        assert sum(r["cost"] for r in caller.control.requests("/v1/batch")) == 40


def test_a_refused_batch_entry_does_not_affect_the_others(caller: Caller) -> None:
    """Each entry has its own answer: a 422 and a 404 do not affect the others."""
    updates = [
        Update(caller.key("good"), a_body("good")),
        Update(caller.key("bad"), a_body("bad", summary="")),
        Update(EventKey("cal_gone", "lost"), a_body("lost")),
        Update(caller.key("fine"), a_body("fine")),
    ]

    results = caller.session().update(updates)

    assert [type(error) for error in results] == [type(None), Refused, NotFound, type(None)]
    assert [getattr(error, "status", None) for error in results] == [None, 422, 404, None]
    assert "summary: errors.required" in str(results[1])
    assert written(caller) == [("good", "batch"), ("fine", "batch")]


def answers(*entries: Any) -> dict[str, Any]:
    """A fault that answers a batch with these entries."""
    return {"kind": "wrong_shape", "body": {"batch": entries}}


ODD = ({"status": 422, "data": [1]}, {"status": 422, "data": {"errors": 7}})
ANSWERS = [
    # label, the batch's answer, the errors of its two updates
    ("both accepted", answers({"status": 202}, {"status": 200}), [None, None]),
    ("rate limited", answers({"status": 202}, {"status": 429}), [None, RateLimited]),
    ("a server's fault", answers({"status": 500}, {"status": 503}), [CronofyError, CronofyError]),
    ("locked", answers({"status": 423}, {"status": 202}), [CronofyError, None]),
    ("forbidden", answers({"status": 403}, {"status": 202}), [Refused, None]),
    ("statuses in words", answers({"status": "202"}, {"status": "422"}), [None, Refused]),
    ("one status is missing", answers({"status": 202}, {}), [None, Malformed]),
    ("one status is no status", answers({"status": True}, {"status": 202}), [Malformed, None]),
    ("one status is none of HTTP's", answers({"status": 202}, {"status": 9999}), [None, Malformed]),
    ("one entry is no object", answers({"status": 202}, None), [None, Malformed]),
    ("odd data", answers(*ODD), [Refused, Refused]),
    ("too few", answers({"status": 202}), [Malformed, Malformed]),
    ("the batch fails", {"kind": "status", "status": 500}, [ServerFault, ServerFault]),
]


@pytest.mark.parametrize(("answer", "errors"), [pytest.param(*row[1:], id=row[0]) for row in ANSWERS])
def test_a_batchs_answer_is_read_entry_by_entry(
    caller: Caller, answer: dict[str, Any], errors: list[type[CronofyError] | None]
) -> None:
    """An answer that does not match the requests is an answer to none of them, and nothing is sent again."""
    caller.control.add_fault(**answer, match={"path_prefix": "/v1/batch"})
    results = caller.update("e1", "e2")
    assert [type(error) if error else None for error in results] == errors
    assert len(caller.calls()) == 1


IDS = [
    pytest.param("cal_U9uuErStTG@EAAAB_IsAsykA2DBTWqQTf-f0kJw", id="as Cronofy documents them"),
    pytest.param("cal_a-b.c~d+e=f:g,h!i;j'k(l)m*n&o$p", id="every sign that an address may have"),
    pytest.param("cal_größe_会議", id="beyond ASCII"),
    pytest.param("cal_50% of all", id="signs that an address may not have"),
    pytest.param("cal_%40", id="what looks encoded"),
]


@under("batch_urls")
@pytest.mark.parametrize("calendar_id", IDS)
def test_any_calendar_id_is_found(caller: Caller, calendar_id: str, traits: dict[str, Any]) -> None:
    """Alone and in a batch, whether or not Cronofy decodes the addresses in a batch, and in a read."""
    caller.control.set_personality(**traits)
    calendars = [{"provider_name": "google", "calendars": [{"calendar_id": calendar_id}]}]
    caller.account = caller.control.create_account(calendar_profiles=calendars)
    caller.connect(access_token=caller.account["access_token"])

    assert caller.update("alone") == [None]
    assert caller.update("e1", "e2", "e3") == [None] * 3

    assert {w["calendar_id"] for w in caller.control.writes()} == {calendar_id}
    assert caller.read() == {"alone", "e1", "e2", "e3"}
    assert caller.queries()[-1]["calendar_ids[]"] == [calendar_id]


def test_a_batch_is_sent_for_documented_ids(caller: Caller) -> None:
    """Only an id whose address needs decoding costs a call of its own."""
    updates = [Update(EventKey(name, "e"), a_body("e")) for name in ("cal_a@b", "cal_ü", "cal_c@d", "cal_e")]
    assert [error.status for error in caller.session().update(updates) if error] == [404] * 4
    batched = [r["cost"] for r in caller.control.requests("/v1/batch")]
    assert batched == [3]


def test_an_entry_that_a_batch_does_not_find_is_sent_alone(caller: Caller) -> None:
    """Only the batch may have misread its address, so the calendar is asked for by a call of its own."""
    caller.control.add_fault("batch_entry", status=404, entry=1, match={"path_prefix": "/v1/batch"})
    assert caller.update("e1", "e2", "e3") == [None] * 3
    assert sorted(written(caller)) == [("e1", "batch"), ("e2", "event"), ("e3", "batch")]


def test_what_is_not_found_is_not_refused_for_good(caller: Caller) -> None:
    """A 404 may concern the address alone, so it settles nothing, unlike a 422."""
    (error,) = caller.session().update([Update(EventKey("cal_gone", "lost"), a_body("lost"))])
    assert type(error) is NotFound


@under("batch_status")
def test_a_batch_is_answered_200_or_207(caller: Caller, traits: dict[str, Any]) -> None:
    """Either says no more than that each entry has its own answer."""
    caller.control.set_personality(**traits)
    accepted, refused = caller.session().update(
        [Update(caller.key("good"), a_body("good")), Update(caller.key("bad"), a_body("bad", summary=""))]
    )
    assert accepted is None
    assert isinstance(refused, Refused)
    assert [r["status"] for r in caller.control.requests("/v1/batch")] == [traits.get("batch_status", 207)]


def test_ids_are_quoted_into_the_path(caller: Caller) -> None:
    """A calendar id with a slash or a question mark stays one path segment."""
    updates = [Update(EventKey(f"cal/../x?y=#{n}", "e1"), a_body("e1")) for n in range(2)]
    results = caller.session().update(updates) + caller.session().update(updates[:1])
    assert [getattr(error, "status", None) for error in results] == [404, 404, 404]
    assert written(caller) == []


def test_an_update_that_cannot_be_written_as_text_is_refused(caller: Caller) -> None:
    """A lone surrogate would never be accepted: it is refused here, and nothing is sent."""
    (error,) = caller.update("e1", summary="\ud800")
    assert isinstance(error, Refused)
    assert caller.calls() == []


# -- our own credentials ----------------------------------------------------------------------------


def budget(caller: Caller) -> Budget:
    """The budget of the sandbox's origin."""
    return caller.cronofy.budget(caller.cronofy.origin("us"))


def set_secret(caller: Caller, secret: str) -> None:
    """Give the sandbox this client secret, and expire the token."""
    caller.control.set_settings(client_secrets=[secret])
    caller.control.expire_access_token(caller.sub)


def refused(caller: Caller) -> ClientRefused:
    """The error of a read whose refresh names another client secret than the sandbox's."""
    set_secret(caller, "another")
    with pytest.raises(ClientRefused) as caught:
        caller.read()
    return caught.value


def a_minute_later(caller: Caller) -> None:
    """The next look may probe."""
    place = f"{caller.cronofy.client_id}@{caller.control.base_url}"
    caller.ledger.redis.delete(caller.ledger.keys.budget_part(place, "probe"))


@pytest.mark.parametrize("revoked", [False, True], ids=["grant accepted", "grant revoked"])
def test_one_probe_a_minute_finds_out_that_the_client_is_accepted_again(
    caller: Caller, revoked: bool
) -> None:
    """It refreshes first; all resume once Cronofy accepts our client, even if it refuses the account."""
    assert isinstance(refused(caller), Refused)
    caller.control.set_settings(client_secrets=["sandbox-secret"])
    if revoked:
        caller.control.revoke_refresh_token(caller.sub)
    a_minute_later(caller)
    sent = len(caller.calls())

    with pytest.raises(GrantRefused) if revoked else nullcontext():
        caller.read()

    probe = ["/oauth/token"] if revoked else ["/oauth/token", "/v1/events"]
    assert [path for _, path in caller.calls()][sent:] == probe
    budget(caller).take()


def test_a_probe_that_is_refused_again_waits_another_minute(caller: Caller) -> None:
    """Neither the probing look nor any other continues."""
    refused(caller)
    for _ in range(2):
        a_minute_later(caller)
        refused(caller)

    with pytest.raises(OutOfBudget, match="client id or secret"):
        caller.read()

    # The first read before it was known, and one refresh each time.
    assert [path for _, path in caller.calls()] == ["/v1/events"] + ["/oauth/token"] * 3


def test_client_secrets_are_tried_newest_first(running: RunningSandbox, ledger: Ledger) -> None:
    """During rotation the older one still works; only if all are refused is the client refused."""
    with connected(running, ledger, secrets=("new", "old")) as caller:
        for secret, refreshes in (("old", 2), ("new", 3)):
            set_secret(caller, secret)
            assert caller.read() == set()
            assert len(caller.calls("/oauth/token")) == refreshes

        refused(caller)
        assert len(caller.calls("/oauth/token")) == 5


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"error": "temporarily_unavailable"}, id="another error"),
        pytest.param({"access_token": ""}, id="an empty token"),
    ],
)
def test_a_malformed_refresh_answer_refuses_nobody(caller: Caller, answer: object) -> None:
    """Only invalid_grant loses an account, only invalid_client stops the fleet."""
    before = caller.credentials()
    caller.control.expire_access_token(caller.sub)
    caller.control.add_fault("wrong_shape", body=answer, match={"path_prefix": "/oauth/token"})

    with pytest.raises(Malformed):
        caller.read()

    assert caller.credentials() == before
    budget(caller).take()
