"""What can go wrong with a call to Cronofy: one hierarchy, whose attributes decide what happens next.

No message contains a token, a secret, a relink URL or an answer's body.
"""

from __future__ import annotations

from datetime import timedelta


class CronofyError(Exception):
    """A call without a usable answer.

    `retry_after` is the wait that Cronofy asked for, if any; `status` is the HTTP status, if there was one.
    """

    def __init__(
        self, reason: str, *, status: int | None = None, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after


class Unreachable(CronofyError):
    """No answer: the connection was refused or broke, or a deadline passed."""


class TimedOut(Unreachable):
    """No answer, or not a complete one, in time."""


class Untrusted(Unreachable):
    """The certificate that answered is signed by nobody we trust, or does not fit."""


class ServerFault(CronofyError):
    """Cronofy answered with a 5xx status."""


class Malformed(CronofyError):
    """A malformed answer; never evidence of anything."""


class RateLimited(CronofyError):
    """429: the application used up its requests; the whole fleet pauses."""


class TokenRefused(CronofyError):
    """401, even with a token refreshed a moment ago."""


class ProbeTurn(TokenRefused):
    """Not a fault: our client credentials were refused, and this look is to retry them by a refresh."""


class TokenNeeded(CronofyError):
    """The account's access token lapsed or is refused, and only the application can give the next."""


class Refused(CronofyError):
    """Cronofy understood the request and refuses it, as it always would: 400, 402, 422 and the like."""


class NotFound(Refused):
    """404 or 410, which may concern the address alone, so another call may well succeed."""


class ScopeRefused(Refused):
    """403: the account's authorisation does not cover the call, which a refresh does not change."""


class GrantRefused(Refused):
    """``invalid_grant``: the account's refresh token is revoked or unknown."""


class ClientRefused(Refused):
    """``invalid_client``: our client id or secret is refused, so no account can be served."""


class OutOfBudget(CronofyError):
    """Not a fault: the fleet's share of Cronofy's limits is used up (`spent`), or calls are paused."""

    def __init__(self, reason: str, *, retry_after: timedelta | None = None, spent: bool = False) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.spent = spent


#: The call was not made and will be made later; this says nothing about the account.
PUT_OFF = (OutOfBudget, RateLimited, ClientRefused)
#: Cronofy refuses the account itself, or would without another token (contract §6).
ACCOUNT_REFUSED = (GrantRefused, ScopeRefused, TokenNeeded)
