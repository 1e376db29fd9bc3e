"""The Cronofy client against the sandbox: reading events and profiles, and the tokens for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import pytest

from sandbox.control.control import Control
from sandbox.server import RunningSandbox
from tests.personalities import under
from worker.cronofy.budget import Budget
from worker.cronofy.client import Cronofy, Session, Update, Window
from worker.cronofy.errors import CronofyError, GrantRefused, Malformed, ScopeRefused, TokenRefused
from worker.cronofy.http import HttpClient
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.records import EventKey

START = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)


def a_body(event_id: str, **fields: Any) -> dict[str, Any]:
    """A Create or Update Event body for an event in three days."""
    return {
        "event_id": event_id,
        "summary": f"Interview {event_id}",
        "start": START.isoformat(),
        "end": (START + timedelta(minutes=30)).isoformat(),
        **fields,
    }


@dataclass
class Caller:
    """An account at the sandbox, connected in the ledger, with a client."""

    control: Control
    ledger: Ledger
    cronofy: Cronofy
    account: dict[str, Any]

    @property
    def sub(self) -> str:
        """The account's id."""
        return str(self.account["sub"])

    @property
    def calendar_id(self) -> str:
        """Its only calendar."""
        return str(self.account["calendar_profiles"][0]["calendars"][0]["calendar_id"])

    def connect(self, *, refresh_token: str | None = None, access_token: str | None = None) -> None:
        """Store credentials: the account's own refresh token unless another is given."""
        token = refresh_token or self.account["refresh_token"]
        self.ledger.connect(Connecting(self.sub, Credentials(token, access_token), "us", None, None))

    def session(self) -> Session:
        """A look's session, with what the ledger has by now."""
        return self.cronofy.session(self.ledger.account(self.sub))

    def credentials(self) -> Credentials:
        """The ledger's credentials."""
        return self.ledger.open_credentials(self.ledger.account(self.sub)) or Credentials("", None)

    def create(self, *event_ids: str, **fields: Any) -> None:
        """Write events at the sandbox as the application."""
        for event_id in event_ids:
            self.control.create_event(self.sub, self.calendar_id, a_body(event_id, **fields))

    def key(self, event_id: str) -> EventKey:
        """An event's key in the account's calendar."""
        return EventKey(self.calendar_id, event_id)

    def read(self, **options: Any) -> set[str]:
        """The ids of the events that a read of the calendar returns."""
        found = self.session().read_events({self.calendar_id}, None, **options)
        return {key.event_id for key in found}

    def update(self, *event_ids: str, **fields: Any) -> list[Any]:
        """Send Update Events."""
        updates = [Update(self.key(event_id), a_body(event_id, **fields)) for event_id in event_ids]
        return list(self.session().update(updates))

    def calls(self, path: str = "") -> list[tuple[str, str]]:
        """Method and path of the requests so far."""
        return [(r["method"], r["path"]) for r in self.control.requests(path)]

    def queries(self) -> list[dict[str, list[str]]]:
        """The parameters of the first-page reads so far."""
        return [parse_qs(r["query"]) for r in self.control.requests() if r["path"] == "/v1/events"]


@contextmanager
def connected(
    running: RunningSandbox,
    ledger: Ledger,
    *,
    timeout: float = 5.0,
    look_timeout: float = 20.0,
    secrets: tuple[str, ...] = ("sandbox-secret",),
    per_second: int = 1000,
    per_minute: int = 10_000,
    batch_counts_items: bool = True,
    url: str | None = None,
) -> Iterator[Caller]:
    """A connected account at an empty sandbox with pages of two events, with an ample budget."""
    running.control.reset()
    running.control.set_settings(page_size=2)

    budget = partial(
        Budget, ledger.redis, ledger.prefix, per_second=per_second, per_minute=per_minute, share=1
    )

    cronofy = Cronofy(
        HttpClient(timedelta(seconds=timeout), connections=4),
        ledger,
        budget,
        client_id="sandbox-client",
        client_secrets=secrets,
        api_url=url or running.url,
        look_timeout=timedelta(seconds=look_timeout),
        batch_counts_items=batch_counts_items,
    )
    caller = Caller(running.control, ledger, cronofy, running.control.create_account())
    caller.connect(access_token=caller.account["access_token"])
    try:
        yield caller
    finally:
        cronofy.http.close()


@pytest.fixture
def caller(running: RunningSandbox, ledger: Ledger) -> Iterator[Caller]:
    """A connected account at an empty sandbox."""
    with connected(running, ledger) as caller:
        yield caller


def test_a_read_follows_every_page(caller: Caller) -> None:
    """Five events on pages of two take three calls and are all there."""
    caller.create("e1", "e2", "e3", "e4", "e5")
    assert caller.read() == {"e1", "e2", "e3", "e4", "e5"}
    paths = [path for _, path in caller.calls("/v1/events")]
    assert len(paths) == 3
    assert all(path.startswith("/v1/events/pages/") for path in paths[1:])


def test_a_read_asks_for_managed_events_of_these_calendars_in_these_days(caller: Caller) -> None:
    """Only what the look needs: the application's own events, narrowed by calendar and day."""
    window = Window(date(2026, 11, 20), date(2026, 11, 23))

    caller.session().read_events({caller.calendar_id}, window)

    assert caller.queries() == [
        {
            "tzid": ["Etc/UTC"],
            "only_managed": ["true"],
            "include_managed": ["true"],
            "localized_times": ["true"],
            "from": ["2026-11-20"],
            "to": ["2026-11-23"],
            "calendar_ids[]": [caller.calendar_id],
        }
    ]


def test_a_read_without_a_window_names_no_days(caller: Caller) -> None:
    """Our events of all time come only with neither from nor to; deleted ones on request, others never."""
    caller.create("kept", "deleted")
    caller.control.delete_event(caller.calendar_id, "deleted")
    times = {name: a_body("theirs")[name] for name in ("start", "end")}
    caller.control.create_external_event(caller.sub, caller.calendar_id, summary="Dentist", **times)

    assert caller.read() == {"kept"}
    assert caller.read(include_deleted=True) == {"kept", "deleted"}

    plain, with_deleted = caller.queries()
    assert not {"from", "to", "include_deleted"} & set(plain)
    assert with_deleted["include_deleted"] == ["true"]


def test_an_unknown_calendar_widens_the_read(caller: Caller) -> None:
    """If Cronofy rejects a calendar id, all calendars are read instead."""
    caller.create("e1")
    found = caller.session().read_events({"cal_gone", caller.calendar_id}, None)
    assert set(found) == {caller.key("e1")}
    narrowed, wide = caller.queries()
    assert narrowed["calendar_ids[]"] == sorted(["cal_gone", caller.calendar_id])
    assert "calendar_ids[]" not in wide


@pytest.mark.parametrize(
    ("path", "fault", "calls"),
    [
        pytest.param("/v1/events", {"kind": "page_loop"}, 3, id="they do not end"),
        pytest.param("/v1/events/pages/", {"kind": "status", "status": 404}, 2, id="one is gone"),
    ],
)
def test_broken_pages_fail_the_whole_read(
    caller: Caller, path: str, fault: dict[str, Any], calls: int
) -> None:
    """A page that leads to itself is not followed forever, and one that has expired proves nothing."""
    caller.create("e1", "e2", "e3")
    caller.control.add_fault(**fault, match={"path_prefix": path})
    with pytest.raises(Malformed):
        caller.read()
    assert len(caller.calls("/v1/events")) <= calls


def test_userinfo_gives_profiles_and_the_address(caller: Caller) -> None:
    """Conferencing profiles with their connection, and calendars with their own service."""
    zoom = caller.control.add_conferencing_profile(caller.sub, provider_name="zoom")
    caller.control.disconnect_profile(caller.sub, zoom["profile_id"])

    info = caller.session().userinfo()

    (profile,) = info.profiles.conferencing
    assert (info.email, profile.profile_id) == ("dana@example.org", zoom["profile_id"])
    assert not profile.connected
    assert profile.relink_url
    assert profile.relink_url not in repr(info)
    assert [each.integrated_available for each in info.profiles.calendars] == [True]


def test_an_expired_token_is_refreshed_once_and_the_new_one_kept(caller: Caller) -> None:
    """One 401, one refresh, the call again; the next look starts with the new token."""
    caller.create("e1")
    caller.control.expire_access_token(caller.sub)

    assert caller.read() == {"e1"}

    assert [path for _, path in caller.calls()] == [READ, REFRESH, READ]
    assert caller.credentials().access_token not in (None, caller.account["access_token"])
    assert caller.read() == {"e1"}
    assert len(caller.calls(REFRESH)) == 1


@under("rotate_refresh_tokens")
def test_the_refresh_token_that_a_refresh_returns_is_kept(caller: Caller, traits: dict[str, Any]) -> None:
    """If it is another, the old one no longer works, so losing the new one would lose the account."""
    caller.control.set_personality(**traits)
    for _ in range(2):
        before = caller.credentials().refresh_token
        caller.control.expire_access_token(caller.sub)
        caller.read()
        assert (caller.credentials().refresh_token != before) is bool(traits)


def test_a_refresh_token_that_is_not_replaced_stays(caller: Caller) -> None:
    """If the answer has none, the one that was used still works."""
    caller.control.expire_access_token(caller.sub)
    fresh = {"access_token": caller.control.authorize(caller.sub)["access_token"]}
    caller.control.add_fault("wrong_shape", body=fresh, match={"path_prefix": "/oauth/token"})
    caller.read()
    assert caller.credentials() == Credentials(caller.account["refresh_token"], fresh["access_token"])


def refuse_every_token(caller: Caller) -> None:
    """Each call is answered 401, whatever its token."""
    caller.control.add_fault("status", status=401, match={"path_prefix": "/v1/"})


def no_scope(caller: Caller) -> None:
    """The account may not be read."""
    caller.control.set_scope(caller.sub, "write_only")


def revoke(caller: Caller) -> None:
    """The access token has expired, and the grant is revoked."""
    caller.control.expire_access_token(caller.sub)
    caller.control.revoke_refresh_token(caller.sub)


READ, REFRESH = "/v1/events", "/oauth/token"


@pytest.mark.parametrize(
    ("given", "error", "calls"),
    [
        pytest.param(lambda caller: caller.connect(), None, [REFRESH, READ], id="no access token"),
        pytest.param(refuse_every_token, TokenRefused, [READ, REFRESH, READ], id="every token refused"),
        pytest.param(revoke, GrantRefused, [READ, REFRESH], id="grant revoked"),
        pytest.param(lambda caller: caller.ledger.forget(caller.sub), GrantRefused, [], id="no credentials"),
        pytest.param(no_scope, ScopeRefused, [READ], id="no scope"),
    ],
)
def test_no_call_and_no_refresh_is_wasted(
    caller: Caller, given: Callable[[Caller], None], error: type[CronofyError] | None, calls: list[str]
) -> None:
    """A token is refreshed first if there is none, once if it is refused, and not where that cannot help."""
    given(caller)
    with pytest.raises(error) if error else nullcontext():
        caller.read()
    assert [path for _, path in caller.calls()] == calls


def test_an_account_connected_again_during_a_refresh_keeps_its_new_tokens(caller: Caller) -> None:
    """The look holding the old ones ends without overwriting what the user just gave."""
    session = caller.session()
    caller.control.expire_access_token(caller.sub)
    caller.connect(refresh_token="brand-new", access_token="brand-new-access")
    with pytest.raises(TokenRefused):
        session.read_events({caller.calendar_id}, None)
    assert caller.credentials() == Credentials("brand-new", "brand-new-access")
