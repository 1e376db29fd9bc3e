"""What can go wrong with a call to Cronofy, as one hierarchy whose attributes decide what happens next.

No message ever holds a token, a secret, a relink URL or an answer's body.
"""

from __future__ import annotations

from datetime import timedelta


class CronofyError(Exception):
    """A call that brought no usable answer.

    `permanent` says that the same call will fail again whenever it is made; `retry_after` is the
    wait that Cronofy asked for, if it did; `status` is the HTTP status, if there was one.
    """

    permanent = False

    def __init__(
        self, reason: str, *, status: int | None = None, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after


class Unreachable(CronofyError):
    """No answer: a refused or broken connection, or one of the deadlines passed."""


class TimedOut(Unreachable):
    """No answer, or not all of it, in time."""


class ServerFault(CronofyError):
    """Cronofy answered with a 5xx status."""


class Malformed(CronofyError):
    """An answer that is not what it should be; never evidence of anything."""


class RateLimited(CronofyError):
    """429: the application used up its requests; the whole fleet pauses."""


class TokenRefused(CronofyError):
    """401, even with a token that was refreshed a moment ago."""


class ProbeTurn(TokenRefused):
    """Not a fault: our client credentials were refused, and this look is to try them again by a refresh."""


class Locked(CronofyError):
    """423: the profile cannot be written to now."""


class Refused(CronofyError):
    """Cronofy understood the request and will not do it: 400, 402, 404, 410, 422 and the like."""

    permanent = True


class ScopeRefused(Refused):
    """403: the account's authorisation does not cover the call; refreshing does not help."""


class GrantRefused(Refused):
    """``invalid_grant``: the account's refresh token is revoked or unknown."""


class ClientRefused(Refused):
    """``invalid_client``: our own client id or secret is refused, so no account can be served."""


class OutOfBudget(CronofyError):
    """Not a fault: the fleet's share of Cronofy's limits is used up, or all calls are paused.

    `spent` tells the first from the second.
    """

    def __init__(self, reason: str, *, retry_after: timedelta | None = None, spent: bool = False) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.spent = spent


#: The call was not carried out, and is made later: nobody's fault, and no word about an account.
PUT_OFF = (OutOfBudget, RateLimited, ClientRefused)
#: Cronofy refuses the account itself (contract §6).
ACCOUNT_REFUSED = (GrantRefused, ScopeRefused)
