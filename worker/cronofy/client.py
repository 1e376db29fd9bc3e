"""The Cronofy API as the reconciler uses it: one session for each look.

A session refreshes the account's token when Cronofy refuses it, unless the application gives its tokens. Only
the holder of the account's lease has a session, so there is never more than one refresh at a time (contract
§6).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import structlog
from redis.exceptions import RedisError

from worker.cronofy.budget import Budget, Spending
from worker.cronofy.errors import (
    ClientRefused,
    CronofyError,
    GrantRefused,
    Malformed,
    NotFound,
    RateLimited,
    Refused,
    TokenNeeded,
    TokenRefused,
)
from worker.cronofy.http import Answer, Deadline, HttpClient, describe_errors
from worker.cronofy.wire import (
    BatchEntry,
    OpenChannel,
    UserInfo,
    is_event,
    lacks_link,
    read_authorization,
    read_batch,
    read_channel,
    read_channels,
    read_page,
    read_tokens,
    read_userinfo,
    slim,
)
from worker.ledger.ledger import Credentials, Ledger
from worker.ledger.records import Account, EventKey, to_ms
from worker.ledger.tallies import add, answers, look_tally
from worker.ledger.vault import VaultError

#: How many requests Cronofy takes in one batch (reference §4).
BATCH_SIZE = 50
#: A read with more pages than this is a loop, not a calendar.
MOST_PAGES = 200
#: No calendar's pages are larger in sum. What one look keeps of them must not fill memory.
LARGEST_READING = 64 * 1024 * 1024
#: What `Session.ask` returns as an answer, besides 2xx.
ANY_STATUS = tuple(status for status in range(300, 600) if status not in (401, 429))
#: What an address may have as it is, beside letters and digits (RFC 3986, pchar).
_PLAIN = "-._~!$&'()*+,;=:@"
_OWED = "The application has to give the account's next access token."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Window:
    """The days that a read covers, `last` excluded, as in Cronofy's `from` and `to`."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Update:
    """One Update Event; the whole body is sent."""

    key: EventKey
    body: Mapping[str, Any]


@dataclass(eq=False, slots=True)
class Cronofy:
    """What a process's sessions share: the connection pool and our client credentials."""

    http: HttpClient
    ledger: Ledger
    #: Makes the budget of a place (CLIENT_ID@ORIGIN).
    new_budget: Callable[[str], Budget]
    client_id: str
    #: Newest first.
    client_secrets: Sequence[str] = field(repr=False)
    api_url: str | None
    look_timeout: timedelta
    batch_counts_items: bool
    _budgets: dict[str, Budget] = field(default_factory=dict, init=False)

    def origin(self, data_center: str) -> str:
        """The API's origin for a data centre (reference §1)."""
        return origin_of(self.api_url, data_center)

    def budget(self, origin: str) -> Budget:
        """The budget of an origin."""
        if origin not in self._budgets:
            self._budgets[origin] = self.new_budget(f"{self.client_id}@{origin}")
        return self._budgets[origin]

    def session(self, account: Account, expected: int = 1, *, urgent: bool = False) -> Session:
        """A session for one look at an account whose lease the caller holds.

        `expected` is the probable number of calls; `urgent` means that somebody is waiting for the answer.
        """
        return Session(self, account, expected, urgent=urgent)


class Session:
    """Calls on behalf of one account, within one look."""

    def __init__(self, cronofy: Cronofy, account: Account, expected: int, *, urgent: bool) -> None:
        self._cronofy = cronofy
        #: With its latest stored credentials.
        self.account = account
        self._credentials: Credentials | None = None
        self._origin = cronofy.origin(account.data_center)
        self._budget = cronofy.budget(self._origin)
        # Only a refresh needs our client secret, or can tell whether it is accepted again.
        given = account.token is not None
        self._spending = Spending(self._budget, expected, urgent=urgent, probing=given)
        self._deadline = Deadline(cronofy.look_timeout)
        self._begun = time.monotonic()
        self._counted = False
        #: Pages of events read so far, and their size.
        self.pages = 0
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Return the unused budget, and count the calls that were made."""
        self._spending.end()
        # Only figures: a committed look must not fail over them.
        with suppress(RedisError):
            if made := self._spending.made:
                self._budget.answered(*answers(made), self._spending.cronofys_time)
            if not self._counted and (figures := self.figures()):
                add(self._cronofy.ledger.redis, self._cronofy.ledger.keys, figures)

    def figures(self) -> dict[str, int]:
        """What the calls so far, and the time since the first, add to the counters; empty without calls."""
        made = self._spending.made
        return look_tally(made, time.monotonic() - self._begun) if made else {}

    def counted(self) -> None:
        """The calls so far were counted: the end does not do it."""
        self._counted = True

    def read_events(
        self,
        calendar_ids: Collection[str],
        window: Window | None,
        *,
        include_deleted: bool = False,
        wanted: Collection[EventKey] | None = None,
        without_link: bool = False,
    ) -> dict[EventKey, list[dict[str, Any]]]:
        """The managed events of these calendars (all, if none is named) in the window, by key.

        Without a window, they are of all time. An id may be there more than once: the occurrences of a series
        may share one. Only those in `wanted`, if it is given, and `without_link` those that show conferencing
        without one: a calendar may hold far more, and the others are dropped while a page is parsed. If
        Cronofy does not accept one of the calendar ids, all calendars are read. A read is complete or an
        error. Events are as on the wire, with the fields that `worker.cronofy.wire.read_sighting` reads.
        """
        params = [
            ("tzid", "Etc/UTC"),
            ("only_managed", "true"),
            ("include_managed", "true"),
            ("localized_times", "true"),
        ]
        if include_deleted:
            params.append(("include_deleted", "true"))
        if window:
            params += [("from", window.first.isoformat()), ("to", window.last.isoformat())]
        narrowed = [("calendar_ids[]", calendar_id) for calendar_id in sorted(calendar_ids)]

        def only_wanted(item: dict[str, Any]) -> dict[str, Any] | None:
            if not is_event(item):
                return item
            key = _key(item)
            if not key or (wanted is not None and key not in wanted):
                return None
            return None if without_link and not lacks_link(item) else slim(item)

        found: dict[EventKey, list[dict[str, Any]]] = {}
        for item in self._all_pages(self._first_page(params, narrowed), only_wanted):
            if key := _key(item):
                found.setdefault(key, []).append(item)
        return found

    def _first_page(self, params: list[tuple[str, str]], narrowed: list[tuple[str, str]]) -> Answer:
        try:
            return self._call("GET", "/v1/events?" + urlencode(params + narrowed))
        except Refused as error:
            if error.status not in (404, 410, 422) or not narrowed:
                raise
            return self._call("GET", "/v1/events?" + urlencode(params))

    def userinfo(self) -> UserInfo:
        """The account's current profiles."""
        return read_userinfo(self._call("GET", "/v1/userinfo").json_object(), self.account.sub)

    def channels(self) -> list[OpenChannel]:
        """The account's open channels, whoever opened them."""
        return read_channels(self._call("GET", "/v1/channels").json_object())

    def open_channel(self, callback_url: str) -> OpenChannel:
        """Open a channel for the account, limited to events that our application manages."""
        body = {"callback_url": callback_url, "filters": {"only_managed": True}}
        return read_channel(self._call("POST", "/v1/channels", body=body).json_object())

    def close_channel(self, channel_id: str) -> None:
        """Close one of the account's channels; an already closed one is not an error."""
        try:
            self._call("DELETE", f"/v1/channels/{segment(channel_id)}")
        except Refused as error:
            if error.status not in (404, 410):
                raise

    def authorize_conferencing(self, provider_name: str, redirect_uri: str) -> str:
        """Where the account's user connects this service now: a secret.

        From there Cronofy leads them to `redirect_uri`.
        """
        body = {"redirect_uri": redirect_uri, "provider_name": provider_name}
        answer = self._call("POST", "/v1/conferencing_service_authorizations", body=body)
        return read_authorization(answer.json_object())

    def ask(self, method: str, url: str, *, body: Mapping[str, Any] | None, cost: int) -> Answer:
        """Any one call, and its answer whatever the status; 401 and 429 are handled, or raised, as ever."""
        return self._call(method, url, body=body, cost=cost, also=ANY_STATUS)

    def update(self, updates: Sequence[Update]) -> list[CronofyError | None]:
        """Send Update Events; for each, return None if Cronofy accepted it, or its error.

        Two or more go through Batch (contract §6). An id whose address has to be encoded goes alone: only
        there is it known that Cronofy decodes it (reference §4). So does what a batch did not find.
        """
        together = [n for n, update in enumerate(updates) if _is_plain(update.key.calendar_id)]
        if len(together) == 1:
            together = []
        errors = dict(zip(together, self._batches([updates[n] for n in together]), strict=True))
        for n, update in enumerate(updates):
            if n not in errors or isinstance(errors[n], NotFound):
                errors[n] = self._alone(update)
        return [errors[n] for n in range(len(updates))]

    def _batches(self, updates: Sequence[Update]) -> list[CronofyError | None]:
        """As many updates per call as Cronofy and the budget allow."""
        # Half of what can be granted at once, so that a batch fits beside the look's own reads.
        fitting = max(1, self._budget.largest // 2) if self._cronofy.batch_counts_items else BATCH_SIZE
        size = min(BATCH_SIZE, fitting)
        results: list[CronofyError | None] = []
        for first in range(0, len(updates), size):
            chunk = updates[first : first + size]
            try:
                results += self._batch(chunk)
            except CronofyError as error:
                results += [error] * len(chunk)
        return results

    def _alone(self, update: Update) -> CronofyError | None:
        try:
            answer = self._call("POST", events_path(update.key.calendar_id), body=update.body)
            if answer.body.strip():
                # Cronofy accepts without a body; a proxy's HTML page is not an acceptance.
                answer.json_object()
        except CronofyError as error:
            return error
        return None

    def _batch(self, updates: Sequence[Update]) -> list[CronofyError | None]:
        entries = [
            {"method": "POST", "relative_url": events_path(update.key.calendar_id), "data": update.body}
            for update in updates
        ]
        cost = len(entries) if self._cronofy.batch_counts_items else 1
        answer = self._call("POST", "/v1/batch", body={"batch": entries}, cost=cost)
        errors = [_entry_error(entry) for entry in read_batch(answer.json_object(), len(entries))]
        if any(isinstance(error, RateLimited) for error in errors):
            self._budget.pause(None)
        return errors

    def _all_pages(
        self, answer: Answer, keep: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> Iterable[dict[str, Any]]:
        seen: set[str] = set()
        while True:
            self.pages += 1
            self._bytes += len(answer.body)
            if self._bytes > LARGEST_READING:
                raise Malformed("The pages of Read Events are too large together.")
            page = read_page(answer.json_object(keep))
            # Before the next one comes.
            del answer
            yield from filter(None, page.events)
            url = page.pages.next_page
            if not url:
                return
            if url in seen or len(seen) >= MOST_PAGES:
                raise Malformed("The pages of Read Events do not end.")
            seen.add(url)
            try:
                answer = self._call("GET", url)
            except Refused as error:
                if error.status in (404, 410, 422):
                    # Page URLs expire: the next look starts from the first page.
                    raise Malformed("A page of Read Events is gone.", status=error.status) from None
                raise

    def _call(
        self,
        method: str,
        address: str,
        *,
        body: Mapping[str, Any] | None = None,
        cost: int = 1,
        also: tuple[int, ...] = (),
    ) -> Answer:
        """Call a path or URL with the account's token; if Cronofy refuses it, refresh it and try once more.

        TokenNeeded if only the application could: without any call if the token has lapsed.
        """
        url = address if "://" in address else self._origin + address
        check_origin(url, self._origin)
        self._credentials = credentials = self._credentials or self._open_credentials()
        fresh = credentials.access_token is None
        while True:
            if fresh:
                credentials = self._refresh(credentials)
            try:
                return self._cronofy.http.call(
                    method,
                    url,
                    spending=self._spending,
                    deadline=self._deadline,
                    token=credentials.access_token,
                    body=body,
                    cost=cost,
                    also=also,
                )
            except TokenRefused:
                if fresh:
                    raise
                fresh = True

    def _open_credentials(self) -> Credentials:
        try:
            credentials = self._cronofy.ledger.open_credentials(self.account)
        except VaultError as error:
            # Our own fault, which says nothing about the account, so the look fails with the reason.
            raise CronofyError(str(error)) from None
        except (ValueError, TypeError):
            raise CronofyError("The stored credentials are damaged: connect the account again.") from None
        if credentials is None:
            raise GrantRefused("The account was never connected: we have no credentials for it.")
        token = self.account.token
        if token is not None and token.lapses_at <= to_ms(self._cronofy.ledger.now()):
            raise TokenNeeded(_OWED)
        return credentials

    def _refresh(self, credentials: Credentials) -> Credentials:
        """Get a new access token, and store it along with the new refresh token if there is one."""
        if credentials.refresh_token is None:
            raise TokenNeeded(_OWED, status=401)
        access_token, refresh_token = self._ask_for_token(credentials.refresh_token)
        self._budget.accept_client()
        self._credentials = fresh = Credentials(refresh_token or credentials.refresh_token, access_token)
        sealed = self._cronofy.ledger.keep_credentials(self.account, fresh)
        if sealed is None:
            raise TokenRefused("The account was connected again during this look.")
        self.account = replace(self.account, credentials=sealed)
        log.info("token.refreshed", sub=self.account.sub)
        return fresh

    def _ask_for_token(self, refresh_token: str) -> tuple[str, str | None]:
        for secret in self._cronofy.client_secrets:
            answer = self._cronofy.http.call(
                "POST",
                f"{self._origin}/oauth/token",
                spending=self._spending,
                deadline=self._deadline,
                body={
                    "client_id": self._cronofy.client_id,
                    "client_secret": secret,
                    "grant_type": "refresh_token",
                    "refresh_token": refresh_token,
                },
                # 403 too: for a refresh, it says nothing about the account's scope.
                also=(400, 401, 403),
            )
            if answer.status < 300:
                return read_tokens(answer.json_object())
            error = answer.json_object().get("error")
            if error == "invalid_grant":
                # It accepted our client, and refuses only the account.
                self._budget.accept_client()
                raise GrantRefused("Cronofy refuses the account's refresh token (invalid_grant).", status=400)
            if error != "invalid_client":
                raise Malformed(
                    "Cronofy refused a token refresh for an unknown reason.", status=answer.status
                )
        self._budget.refuse_client()
        raise ClientRefused("Cronofy refuses our client id or secret (invalid_client).", status=400)


def origin_of(api_url: str | None, data_center: str) -> str:
    """The API's origin for a data centre, unless one is set for all (reference §1)."""
    suffix = "" if data_center == "us" else f"-{data_center}"
    return api_url.rstrip("/") if api_url else f"https://api{suffix}.cronofy.com"


def events_path(calendar_id: str) -> str:
    """Where a calendar's events are written."""
    return f"/v1/calendars/{segment(calendar_id)}/events"


def segment(name: str) -> str:
    """An id in an address: as it is, like the official clients write it, wherever an address allows that."""
    return quote(name, safe=_PLAIN)


def _is_plain(name: str) -> bool:
    """Whether an id has the same address for a server that decodes it and for one that does not."""
    return segment(name) == name


def _key(item: Mapping[str, Any]) -> EventKey | None:
    """The event's key; None if our application does not manage it, as it then has no ``event_id``."""
    calendar_id, event_id = item.get("calendar_id"), item.get("event_id")
    if isinstance(calendar_id, str) and isinstance(event_id, str):
        return EventKey(calendar_id, event_id)
    return None


def check_origin(url: str, origin: str) -> None:
    """Raise Malformed unless a URL, whatever answer it comes from, is on this origin and names no user.

    Only there may a token go.
    """
    here, place = urlsplit(origin), None
    with suppress(ValueError):
        there = urlsplit(url)
        place = (there.scheme, there.hostname, there.port, there.username)
    if place != (here.scheme, here.hostname, here.port, None):
        raise Malformed("Cronofy answered with an address on another origin than its API.")


def _entry_error(entry: BatchEntry) -> CronofyError | None:
    """The error in a batch's entry, or None."""
    status = entry.status
    if status is None or status < 200 or 300 <= status < 400:
        return Malformed("An entry of the batch's answer has no status that we know.")
    if status < 300:
        return None
    if status == 429:
        return RateLimited("Cronofy's rate limit was used up within a batch.", status=status)
    if status >= 500 or status in (401, 423):
        return CronofyError(f"Cronofy answered {status} to one request of a batch.", status=status)
    if status in (404, 410):
        return NotFound(f"Cronofy cannot find it ({status}).", status=status)
    return Refused(f"Cronofy refuses the update ({describe_errors(entry.errors) or status}).", status=status)
