"""The Cronofy client against the sandbox: Update Event, single and in batches, and our own credentials."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.integration.test_cronofy_reading import Caller, a_body, connected
from worker.cronofy.budget import Budget
from worker.cronofy.client import Update
from worker.cronofy.errors import (
    ClientRefused,
    CronofyError,
    GrantRefused,
    Malformed,
    OutOfBudget,
    RateLimited,
    Refused,
    ServerFault,
)
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey


@pytest.fixture
def caller(running: RunningSandbox, ledger: Ledger) -> Iterator[Caller]:
    """A connected account at an empty sandbox."""
    with connected(running, ledger) as caller:
        yield caller


def written(caller: Caller) -> list[tuple[str, str]]:
    """Event id and source of the writes that the sandbox accepted."""
    return [(w["event_id"], w["via"]) for w in caller.control.writes()]


def writes_sent(caller: Caller) -> int:
    """The number of writing calls."""
    return len([path for method, path in caller.calls() if method == "POST" and path != "/oauth/token"])


def test_one_update_goes_alone(caller: Caller) -> None:
    """A batch of one would only cost more."""
    assert caller.update("e1") == [None]

    assert written(caller) == [("e1", "event")]


def test_two_updates_go_through_batch(caller: Caller) -> None:
    """One call, in order, each with the whole body."""
    assert caller.update("e1", "e2", summary="New") == [None, None]

    assert written(caller) == [("e1", "batch"), ("e2", "batch")]
    assert [w["body"]["summary"] for w in caller.control.writes()] == ["New", "New"]
    assert writes_sent(caller) == 1


def test_no_update_is_no_call(caller: Caller) -> None:
    """Nothing to write, nothing sent."""
    assert caller.update() == []

    assert caller.calls() == []


@pytest.mark.parametrize("counts_items", [True, False], ids=["as its items", "as one call"])
def test_sixty_updates_take_two_calls(running: RunningSandbox, ledger: Ledger, counts_items: bool) -> None:
    """Cronofy accepts fifty per call, however a batch counts."""
    ids = [f"e{number:02}" for number in range(60)]
    with connected(running, ledger, batch_counts_items=counts_items) as caller:
        assert caller.update(*ids) == [None] * 60

        assert [event_id for event_id, _ in written(caller)] == ids
        assert [r["cost"] for r in caller.control.requests("/v1/batch")] == [50, 10]


def test_a_batch_waits_for_the_second_it_fits_into(running: RunningSandbox, ledger: Ledger) -> None:
    """At forty requests a second, two of them spent, sixty updates take their time and all arrive."""
    ids = [f"e{number:02}" for number in range(60)]
    with connected(running, ledger, per_second=40) as caller:
        budget(caller).take(2)

        assert caller.update(*ids) == [None] * 60

        assert [r["cost"] for r in caller.control.requests("/v1/batch")] == [20, 20, 20]
        assert caller.control.rates()["max_per_second"] <= 40


def test_updates_that_no_budget_is_left_for_are_put_off(running: RunningSandbox, ledger: Ledger) -> None:
    """What fits into the current minute is sent, in order; the rest is left for a later look."""
    ids = [f"e{number:02}" for number in range(60)]
    with connected(running, ledger, per_minute=40) as caller:
        results = caller.update(*ids)

        accepted = [error is None for error in results]
        assert accepted == [True] * 40 + [False] * 20
        assert {type(error) for error in results if error} == {OutOfBudget}
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

    assert [type(error) for error in results] == [type(None), Refused, Refused, type(None)]
    assert [getattr(error, "status", None) for error in results] == [None, 422, 404, None]
    assert "summary: errors.required" in str(results[1])
    assert written(caller) == [("good", "batch"), ("fine", "batch")]


ENTRIES = [
    # label, the batch's answer, the errors of its two updates
    ("both accepted", [{"status": 202}, {"status": 200}], [None, None]),
    ("rate limited", [{"status": 202}, {"status": 429}], [None, RateLimited]),
    ("a server's fault", [{"status": 500}, {"status": 503}], [CronofyError, CronofyError]),
    ("locked", [{"status": 423}, {"status": 202}], [CronofyError, None]),
    ("forbidden", [{"status": 403}, {"status": 202}], [Refused, None]),
    ("odd data", [{"status": 422, "data": [1]}, {"status": 422, "data": {"errors": 7}}], [Refused, Refused]),
    ("too few", [{"status": 202}], [Malformed, Malformed]),
]


@pytest.mark.parametrize(("entries", "errors"), [row[1:] for row in ENTRIES], ids=[row[0] for row in ENTRIES])
def test_a_batchs_answer_is_read_entry_by_entry(
    caller: Caller, entries: Any, errors: list[type[CronofyError] | None]
) -> None:
    """An answer that does not match the requests is an answer to none of them."""
    caller.control.add_fault("wrong_shape", body={"batch": entries}, match={"path_prefix": "/v1/batch"})

    results = caller.update("e1", "e2")

    assert [type(error) if error else None for error in results] == errors
    assert [error.permanent for error in results if error] == [
        issubclass(kind, Refused) for kind in errors if kind
    ]


def test_a_batch_that_fails_fails_all_its_updates(caller: Caller) -> None:
    """None of them is known to be written."""
    caller.control.add_fault("status", status=500, match={"path_prefix": "/v1/batch"})

    results = caller.update("e1", "e2", "e3")

    assert [type(result) for result in results] == [ServerFault] * 3
    assert writes_sent(caller) == 1


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


def refuse_client(caller: Caller, secret: str = "another") -> None:
    """Give the sandbox another client secret than ours, and expire the token."""
    caller.control.set_settings(client_secrets=[secret])
    caller.control.expire_access_token(caller.sub)


def test_a_refused_client_stops_the_fleet(caller: Caller) -> None:
    """invalid_client is no account's fault: no more calls, for any account."""
    refuse_client(caller)
    with pytest.raises(ClientRefused) as caught:
        caller.read()
    assert caught.value.permanent
    other = Caller(caller.control, caller.ledger, caller.cronofy, caller.control.create_account())
    other.connect(access_token=other.account["access_token"])
    sent = len(caller.calls())

    with pytest.raises(OutOfBudget, match="client id or secret") as refused:
        other.read()

    assert refused.value.retry_after is not None
    assert timedelta(seconds=50) < refused.value.retry_after <= timedelta(seconds=60)
    assert len(caller.calls()) == sent


def test_one_probe_a_minute_finds_out_that_the_client_is_accepted_again(caller: Caller) -> None:
    """After a minute one look refreshes first, and all resume if that works."""
    refuse_client(caller)
    with pytest.raises(ClientRefused):
        caller.read()
    caller.control.set_settings(client_secrets=["sandbox-secret"])
    caller.ledger.redis.delete(f"{caller.ledger.prefix}:budget:{caller.control.base_url}:probe")
    sent = len(caller.calls())

    assert caller.read() == set()

    assert [path for _, path in caller.calls()][sent:] == ["/oauth/token", "/v1/events"]
    budget(caller).take()


def test_a_probe_that_is_refused_again_waits_another_minute(caller: Caller) -> None:
    """Neither the probing look nor any other continues."""
    refuse_client(caller)
    for _ in range(2):
        with pytest.raises(ClientRefused):
            caller.read()
        caller.ledger.redis.delete(f"{caller.ledger.prefix}:budget:{caller.control.base_url}:probe")
    with pytest.raises(ClientRefused):
        caller.read()

    with pytest.raises(OutOfBudget):
        caller.read()

    # The first read before it was known, and one refresh each time.
    assert [path for _, path in caller.calls()] == ["/v1/events"] + ["/oauth/token"] * 3


def test_a_probe_whose_grant_is_refused_proves_our_client_good(caller: Caller) -> None:
    """Cronofy accepted our client and refused only the account: the others may resume at once."""
    refuse_client(caller)
    with pytest.raises(ClientRefused):
        caller.read()
    caller.control.set_settings(client_secrets=["sandbox-secret"])
    caller.control.revoke_refresh_token(caller.sub)
    caller.ledger.redis.delete(f"{caller.ledger.prefix}:budget:{caller.control.base_url}:probe")

    with pytest.raises(GrantRefused):
        caller.read()

    budget(caller).take()


def test_client_secrets_are_tried_newest_first(running: RunningSandbox, ledger: Ledger) -> None:
    """During rotation the older one still works; only if all are refused is the client refused."""
    with connected(running, ledger, secrets=("new", "old")) as caller:
        refuse_client(caller, "old")
        assert caller.read() == set()
        assert len(caller.calls("/oauth/token")) == 2

        refuse_client(caller, "new")
        assert caller.read() == set()
        assert len(caller.calls("/oauth/token")) == 3

        refuse_client(caller, "other")
        with pytest.raises(ClientRefused):
            caller.read()
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
