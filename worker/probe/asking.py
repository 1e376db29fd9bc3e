"""How the probe asks: with the account's stored tokens and the fleet's budget, or with a given token."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from worker.bootstrap import Services
from worker.cronofy import budget
from worker.cronofy.client import ANY_STATUS, check_origin
from worker.cronofy.errors import CronofyError, Malformed, OutOfBudget, RateLimited, ServerFault, Unreachable
from worker.cronofy.http import Answer, Deadline, HttpClient, Spending
from worker.cronofy.wire import object_in
from worker.run.looks import acquire

#: How long a probe waits for room in the budget, or for the end of a pause, before it gives up.
PATIENCE_SECONDS = 90.0
#: How many calls a minute the probe makes where no ledger keeps a budget.
ALONE_PER_MINUTE = 60
#: A token that nobody has.
NOBODYS_TOKEN = "reconciler-probe-asks-what-a-401-says"  # noqa: S105 - not a secret


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as a probe sees it, or why there is none."""

    status: int
    #: The body as JSON; None if it is empty or not JSON.
    body: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: The call failed without an answer that says anything.
    failed: str | None = None
    #: Seconds from the write that was waited for.
    after: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether Cronofy did as it was asked."""
        return not self.failed and self.status < 300

    def get(self, name: str) -> Any:
        """A field of the body; None if it has none."""
        return object_in(self.body).get(name)


class Asking(ABC):
    """Makes calls for one account."""

    def __init__(self, http: HttpClient, origin: str, spending: Spending) -> None:
        """`spending` pays for the calls that are not the account's."""
        self.origin = origin
        self._http = http
        self._spending = spending

    @abstractmethod
    def call(self, method: str, url: str, body: Mapping[str, Any] | None, cost: int) -> Answer:
        """The answer, whatever its status; a CronofyError for a 401, a 429, or no answer."""

    def ask_as_nobody(self, path: str) -> Reply:
        """The reply to a GET with a token that nobody has; never raises for what came of it."""
        try:
            answer = self._http.call(
                "GET",
                self.origin + path,
                spending=self._spending,
                deadline=Deadline(timedelta(seconds=30)),
                token=NOBODYS_TOKEN,
                also=(*ANY_STATUS, 401),
            )
        except CronofyError as error:
            return Reply(0, failed=error.reason)
        return reply_of(answer)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()


class WithLedger(Asking):
    """With the tokens that the ledger has; the account is held for each call only, not between them."""

    def __init__(self, services: Services, sub: str) -> None:
        self._services = services
        self._sub = sub
        self._cronofy = services.looker.cronofy
        origin = self._cronofy.origin(services.ledger.account(sub).data_center)
        spending = budget.Spending(self._cronofy.budget(origin), 1, urgent=True)
        super().__init__(self._cronofy.http, origin, spending)

    def call(self, method: str, url: str, body: Mapping[str, Any] | None, cost: int) -> Answer:
        """As `Asking` says; a refresh, if one is needed, is stored."""
        lease = acquire(self._services, self._sub)
        if lease is None:
            raise CronofyError("Another look at this account is in progress: try again later.")
        try:
            with self._cronofy.session(lease.account, urgent=True) as session:
                return session.ask(method, url, body=body, cost=cost)
        finally:
            self._services.ledger.release(lease)

    def close(self) -> None:
        """Close the ledger's connections too."""
        self._services.close()


class Given(Asking):
    """With one access token and without a ledger."""

    def __init__(self, http: HttpClient, origin: str, token: str, timeout: timedelta) -> None:
        super().__init__(http, origin, Pace(ALONE_PER_MINUTE))
        self._token = token
        self._timeout = timeout

    def call(self, method: str, url: str, body: Mapping[str, Any] | None, cost: int) -> Answer:
        """As `Asking` says."""
        check_origin(url, self.origin)
        return self._http.call(
            method,
            url,
            spending=self._spending,
            deadline=Deadline(self._timeout),
            token=self._token,
            body=body,
            cost=cost,
            also=ANY_STATUS,
        )


class Pace:
    """Spends a number of requests in any minute, where no ledger keeps a budget; not thread-safe."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._spent: deque[float] = deque()
        self._paused_until = 0.0
        self.made: Counter[str] = Counter()
        self.dated: tuple[datetime, float] | None = None

    def take(self, cost: int = 1, *, refresh: bool = False) -> None:  # noqa: ARG002 - there is no refresh
        """Spend `cost` requests, or raise OutOfBudget with the time to wait."""
        now = time.monotonic()
        while self._spent and self._spent[0] <= now - 60:
            self._spent.popleft()
        free_at = self._paused_until
        if len(self._spent) + cost > self._per_minute:
            free_at = max(free_at, self._spent[0] + 60)
        if free_at > now:
            raise OutOfBudget(
                "The probe's own pace.", retry_after=timedelta(seconds=free_at - now), spent=True
            )
        self._spent.extend([now] * cost)

    def pause(self, asked: timedelta | None) -> None:
        """Spend nothing for as long as Cronofy asked, within two minutes, or for half a minute."""
        seconds = min(asked.total_seconds(), 120.0) if asked else 30.0
        self._paused_until = time.monotonic() + max(1.0, seconds)


def ask(
    asking: Asking, method: str, path: str, body: Mapping[str, Any] | None = None, cost: int = 1
) -> Reply:
    """One call to a path or a URL of the account's origin.

    Waits a while for room in the budget. An answer that says nothing (none, or a 5xx) is a Reply that says
    so; what concerns all calls, such as a refused token, is raised.
    """
    url = path if "://" in path else asking.origin + path
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return reply_of(asking.call(method, url, body, cost))
        except (OutOfBudget, RateLimited) as error:
            rest = budget.rest_before(end, error)
            if rest is None:
                raise
            time.sleep(rest)
        except (Unreachable, ServerFault, Malformed) as error:
            return Reply(0, failed=error.reason)


def reply_of(answer: Answer) -> Reply:
    """What a probe sees of an answer."""
    if answer.status >= 500:
        return Reply(answer.status, failed=f"Cronofy answered {answer.status}.")
    try:
        body = json.loads(answer.body) if answer.body.strip() else None
    except (ValueError, RecursionError):
        body = None
    return Reply(answer.status, body, answer.headers)
